// SPDX-License-Identifier: Apache-2.0
#include "daemon/config/read.h"

#include "base/macros.h"
#include "base/str.h"
#include "daemon/config/check.h"
#include "daemon/config/hub.h"
#include "daemon/config/notify.h"
#include "daemon/config/tokens.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <string.h>

#define SECTION "daemon"

enum source { SOURCE_NONE, SOURCE_FILE, SOURCE_ENVIRONMENT, SOURCE_FLAG };

/* Reading in progress: where each option's value came from. */
struct reader {
    struct config *config;
    enum source sources[CONFIG_OPTIONS_MAX];
    struct failure *failure;
    int r;
};

static int find_option(const char *name, size_t size) {
    for (size_t i = 0; i < (size_t)n_config_options; i++) {
        if (strlen(config_options[i].name) == size && !strncmp(config_options[i].name, name, size))
            return (int)i;
    }
    return -1;
}

/* Gives option @i a value, unless a stronger source already did. */
static int set(struct reader *reader, int i, enum source source, const char *value) {
    const struct config_option *option = &config_options[i];
    void *at = (char *)reader->config + option->offset;
    char *copy;

    if (source < reader->sources[i])
        return 0;
    if (!value[0])
        return failure_set(reader->failure, -EINVAL, "config_invalid", NULL,
                           "option '%s' has no value", option->name);
    if (option->kind == CONFIG_LIST) {
        if (source > reader->sources[i])
            config_list_clear(at);
        reader->sources[i] = source;
        return config_list_add(at, value, option->name, reader->failure);
    }
    copy = strdup(value);
    if (!copy)
        return failure_oom(reader->failure);
    free(*(char **)at);
    *(char **)at = copy;
    reader->sources[i] = source;
    return 0;
}

static int read_flags(struct reader *reader, int argc, char *const *argv) {
    for (int k = 1; k < argc; k++) {
        const char *name = argv[k] + 2, *equals = strchr(argv[k], '='), *value = NULL;
        int i = -1, r;

        if (str_has_prefix(argv[k], "--"))
            i = find_option(name, equals ? (size_t)(equals - name) : strlen(name));
        if (i < 0)
            return failure_set(reader->failure, -EINVAL, "config_invalid",
                               "quantd --help lists the options", "unknown option '%s'", argv[k]);
        if (config_options[i].kind == CONFIG_SWITCH) {
            if (equals)
                return failure_set(reader->failure, -EINVAL, "config_invalid", NULL,
                                   "option '--%s' takes no value", config_options[i].name);
            *(bool *)((char *)reader->config + config_options[i].offset) = true;
            continue;
        }
        value = equals ? equals + 1 : argv[++k];
        if (!value)
            return failure_set(reader->failure, -EINVAL, "config_invalid", NULL,
                               "option '--%s' needs a value", config_options[i].name);
        r = set(reader, i, SOURCE_FLAG, value);
        if (r)
            return r;
    }
    return 0;
}

/* The value of QUANTD_NAME in @environment, or NULL. */
static const char *variable(char *const *environment, const char *prefix, const char *name) {
    size_t n = strlen(prefix);

    for (; *environment; environment++) {
        const char *at = *environment + n;
        size_t i = 0;

        if (strncmp(*environment, prefix, n))
            continue;
        while (name[i] && at[i] == (name[i] == '-' ? '_' : toupper((unsigned char)name[i])))
            i++;
        if (!name[i] && at[i] == '=')
            return at + i + 1;
    }
    return NULL;
}

static int read_variables(struct reader *reader, char *const *environment) {
    for (size_t i = 0; i < (size_t)n_config_options; i++) {
        const char *value = variable(environment, "QUANTD_", config_options[i].name);
        cleanup(freep) char *copy = NULL;
        char *rest = NULL;
        int r = 0;

        if (!value || config_options[i].flag_only)
            continue;
        if (config_options[i].kind != CONFIG_LIST) {
            r = set(reader, (int)i, SOURCE_ENVIRONMENT, value);
        } else {
            copy = strdup(value);
            if (!copy)
                return failure_oom(reader->failure);
            for (char *at = strtok_r(copy, ",", &rest); at && !r; at = strtok_r(NULL, ",", &rest))
                r = set(reader, (int)i, SOURCE_ENVIRONMENT, at);
        }
        if (r)
            return r;
    }
    return 0;
}

/* One line of the file. inih goes on after an error; the first one is kept. */
static int on_line(void *ctx, const char *section, const char *name, const char *value) {
    struct reader *reader = ctx;
    int i = find_option(name, strlen(name));

    if (reader->r)
        return 0;
    if (!str_equal(section, SECTION))
        reader->r = failure_set(reader->failure, -EINVAL, "config_invalid",
                                "options belong into the section [" SECTION "]",
                                "unknown section '[%s]' in '%s'", section, reader->config->file);
    else if (i < 0 || config_options[i].flag_only || str_equal(name, "config"))
        reader->r = failure_set(reader->failure, -EINVAL, "config_invalid",
                                "the keys are the flags of quantd --help, without the dashes",
                                "unknown key '%s' in '%s'", name, reader->config->file);
    else
        reader->r = set(reader, i, SOURCE_FILE, value);
    return !reader->r;
}

static int read_file(struct reader *reader) {
    const char *file = reader->config->file;
    int line;

    if (!file)
        return 0;
    errno = 0;
    line = ini_parse(file, on_line, reader);
    if (line == -1)
        return failure_errno(reader->failure, errno ? -errno : -EIO, "cannot read", file);
    if (reader->r)
        return reader->r;
    if (line)
        return failure_set(reader->failure, -EINVAL, "config_invalid", "write KEY = VALUE",
                           "cannot read '%s': line %d is malformed or too long", file, line);
    return 0;
}

int config_read(int argc, char *const *argv, char *const *environment, struct config **ret_config,
                struct failure *failure) {
    cleanup(config_freep) struct config *config = calloc(1, sizeof(*config));
    struct reader reader = {.config = config, .failure = failure};
    int r;

    if (!config)
        return failure_oom(failure);
    r = read_flags(&reader, argc, argv);
    if (!r && !config->help && !config->version) {
        r = read_variables(&reader, environment);
        if (!r)
            r = read_file(&reader);
        if (!r)
            r = config_check(config, variable(environment, "", "state-directory"),
                             variable(environment, "", "cache-directory"), failure);
        if (!r)
            r = config_hub(config, environment, failure);
        if (!r)
            r = config_notify(config, failure);
        if (!r)
            r = config_tokens(config, variable(environment, "", "credentials-directory"), failure);
    }
    if (r)
        return r;

    *ret_config = steal_ptr(config);
    return 0;
}
