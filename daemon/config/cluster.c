// SPDX-License-Identifier: Apache-2.0
#include "daemon/config/cluster.h"

#include "base/macros.h"
#include "base/str.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SAFE "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ/._-+,@:="

static int invalid(struct failure *failure, const char *option, const char *value,
                   const char *why) {
    return failure_set(failure, -EINVAL, "config_invalid", "see quantd.conf(5)",
                       "invalid %s '%s': %s", option, value, why);
}

/* It becomes part of a script and of a pattern of Slurm's. */
static int check_path(const char *option, const char *path, struct failure *failure) {
    if (path[0] != '/')
        return invalid(failure, option, path, "it is no absolute path");
    if (path[strspn(path, SAFE)])
        return invalid(failure, option, path,
                       "with slurm = yes it may have letters, digits and the signs /._-+,@:= only");
    return 0;
}

static int set_default(char **value, const char *text, struct failure *failure) {
    if (!*value)
        *value = strdup(text);
    return *value ? 0 : failure_oom(failure);
}

static int check_texts(const struct config *config, struct failure *failure) {
    const char *const texts[][2] = {{"slurm-partition", config->slurm_partition},
                                    {"slurm-account", config->slurm_account},
                                    {"slurm-qos", config->slurm_qos},
                                    {"slurm-gres", config->slurm_gres},
                                    {"slurm-cpus", config->slurm_cpus},
                                    {"slurm-memory", config->slurm_memory},
                                    {"slurm-time", config->slurm_time}};

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        const char *text = texts[i][1];

        for (const char *at = text; at && *at; at++) {
            if (*at <= ' ' || *at > '~')
                return invalid(failure, texts[i][0], text, "it has a blank or no ASCII in it");
        }
    }
    for (int i = 0; i < config->slurm_options.n; i++) {
        if (!str_has_prefix(config->slurm_options.at[i], "-"))
            return invalid(failure, "slurm-option", config->slurm_options.at[i],
                           "it is no option, as --constraint=a100");
    }
    return 0;
}

static int copy_list(const struct config_list *from, struct config_list *to) {
    struct failure failure;
    int r = 0;

    for (int i = 0; i < from->n && !r; i++)
        r = config_list_add(to, from->at[i], "", &failure);
    return r;
}

static int copy_option(const struct config *from, const struct config_option *option,
                       struct config *to) {
    const void *source = (const char *)from + option->offset;
    void *target = (char *)to + option->offset;
    char *text;

    if (option->kind == CONFIG_LIST)
        return copy_list(source, target);
    text = *(char *const *)source;
    if (!text)
        return 0;
    *(char **)target = strdup(text);
    return *(char **)target ? 0 : -ENOMEM;
}

int config_copy_slurm(const struct config *from, struct config **ret_copy) {
    struct config *copy = calloc(1, sizeof(*copy));
    int r = copy ? 0 : -ENOMEM;

    for (int i = 0; i < n_config_options && !r; i++) {
        if (str_has_prefix(config_options[i].name, "slurm"))
            r = copy_option(from, &config_options[i], copy);
    }
    if (r) {
        config_free(copy);
        return -ENOMEM;
    }
    copy->slurm = from->slurm;
    copy->slurm_jobs = from->slurm_jobs;
    copy->slurm_poll = from->slurm_poll;
    copy->slurm_silence = from->slurm_silence;
    copy->hang_seconds = from->hang_seconds;
    *ret_copy = copy;
    return 0;
}

int config_check_slurm(struct config *config, struct failure *failure) {
    int r;

    config->slurm = str_equal(config->slurm_text, "yes");
    if (config->slurm_text && !config->slurm && !str_equal(config->slurm_text, "no"))
        return invalid(failure, "slurm", config->slurm_text, "it is neither yes nor no");
    if ((r = set_default(&config->slurm_bin, "/usr/bin", failure)) ||
        (r = set_default(&config->slurm_run, QUANTD_RUN_PATH, failure)))
        return r;
    if (!config->slurm)
        return str_equal(config->devices.at[0], "none")
                   ? invalid(failure, "device", "none", "without slurm = yes no job could run")
                   : 0;
    if ((r = check_path("jobs-dir", config->jobs_dir, failure)) ||
        (r = check_path("slurm-run", config->slurm_run, failure)) ||
        (r = check_path("slurm-bin", config->slurm_bin, failure)))
        return r;
    return check_texts(config, failure);
}
