// SPDX-License-Identifier: Apache-2.0
#include "daemon/config/check.h"
#include "daemon/config/cluster.h"

#include "api/wire.h"
#include "base/macros.h"
#include "base/str.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>

#define SECONDS_MAX 86400

static const struct {
    const char *name;
    int level;
} log_levels[] = {{"error", LOG_ERR},
                  {"warning", LOG_WARNING},
                  {"notice", LOG_NOTICE},
                  {"info", LOG_INFO},
                  {"debug", LOG_DEBUG}};

static int invalid(struct failure *failure, const char *option, const char *value,
                   const char *why) {
    return failure_set(failure, -EINVAL, "config_invalid", "quantd --help lists the options",
                       "invalid %s '%s': %s", option, value, why);
}

/* Makes *@path absolute; @fallback when it is not set. systemd lists several with ':'. */
static int check_path(char **path, const char *given, const char *fallback,
                      struct failure *failure) {
    cleanup(freep) char *here = NULL;
    char *absolute;

    if (!*path && given && given[0])
        *path = strndup(given, strcspn(given, ":"));
    else if (!*path)
        *path = strdup(fallback);
    if (!*path)
        return failure_oom(failure);
    if ((*path)[0] == '/')
        return 0;
    here = getcwd(NULL, 0);
    absolute = here ? str_format("%s/%s", here, *path) : NULL;
    if (!absolute)
        return failure_oom(failure);
    free(*path);
    *path = absolute;
    return 0;
}

static int check_jobs_dir(struct config *config, struct failure *failure) {
    cleanup(freep) char *fallback = str_format("%s/jobs", config->state_dir);

    return fallback ? check_path(&config->jobs_dir, NULL, fallback, failure) : failure_oom(failure);
}

static int check_folders(struct config_list *list, const char *option, struct failure *failure) {
    for (int i = 0; i < list->n; i++) {
        char *real = realpath(list->at[i], NULL);
        struct stat st;

        if (!real)
            return invalid(failure, option, list->at[i], strerror(errno));
        free(list->at[i]);
        list->at[i] = real;
        if (stat(real, &st) || !S_ISDIR(st.st_mode))
            return invalid(failure, option, real, "it is not a folder");
    }
    return 0;
}

static int check_listener(const char *address, struct failure *failure) {
    const char *colon = strrchr(address, ':');
    const char *path = address + strlen("unix:");
    uint64_t port;

    if (str_has_prefix(address, "unix:")) {
        if (path[0] != '/' || strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
            return invalid(failure, "listen", address,
                           "the path of a socket is absolute and shorter than 108 bytes");
        return 0;
    }
    if (!colon || colon == address || str_parse_u64(colon + 1, 65535, &port))
        return invalid(failure, "listen", address, "it is neither HOST:PORT nor unix:PATH");
    return 0;
}

static int check_device(const char *device, struct failure *failure) {
    uint64_t number;

    if (str_equal(device, "auto") || str_equal(device, "cpu") || str_equal(device, "none"))
        return 0;
    if (str_has_prefix(device, "cuda:") && !str_parse_u64(device + 5, 1023, &number))
        return 0;
    return invalid(failure, "device", device, "it is none of auto, cpu, cuda:N, none");
}

static int check_devices(struct config *config, struct failure *failure) {
    struct config_list *list = &config->devices;
    int r = 0;

    if (!list->n)
        r = config_list_add(list, "auto", "device", failure);
    if (!r && list->n > CONFIG_DEVICES_MAX)
        r = invalid(failure, "device", list->at[CONFIG_DEVICES_MAX], "too many devices");
    for (int i = 0; i < list->n && !r; i++) {
        r = check_device(list->at[i], failure);
        if (!r && list->n > 1 && (str_equal(list->at[i], "auto") || str_equal(list->at[i], "none")))
            r = invalid(failure, "device", list->at[i], "several devices have to be named");
        for (int k = 0; k < i && !r; k++) {
            if (str_equal(list->at[i], list->at[k]))
                r = invalid(failure, "device", list->at[i], "it is given twice");
        }
    }
    return r;
}

static int check_listeners(struct config *config, struct failure *failure) {
    struct config_list *list = &config->listen;
    int r = 0;

    if (!list->n) {
        r = config_list_add(list, "unix:" WIRE_DEFAULT_SOCKET, "listen", failure);
        if (!r)
            r = config_list_add(list, WIRE_DEFAULT_HOST ":" WIRE_DEFAULT_PORT, "listen", failure);
    }
    for (int i = 0; i < list->n && !r; i++)
        r = check_listener(list->at[i], failure);
    return r;
}

static int check_log_level(struct config *config, struct failure *failure) {
    config->log_level = LOG_INFO;
    if (!config->log_level_name)
        return 0;
    for (size_t i = 0; i < ARRAY_SIZE(log_levels); i++) {
        if (str_equal(config->log_level_name, log_levels[i].name)) {
            config->log_level = log_levels[i].level;
            return 0;
        }
    }
    return invalid(failure, "log-level", config->log_level_name,
                   "it is none of error, warning, notice, info, debug");
}

/* The whole numbers. */
static int check_numbers(struct config *config, struct failure *failure) {
    const struct {
        const char *option, *text;
        int *number, otherwise, min, max;
    } numbers[] = {
        {"idle-seconds", config->idle_text, &config->idle_seconds, 60, 0, SECONDS_MAX},
        {"hang-seconds", config->hang_text, &config->hang_seconds, 1800, 1, SECONDS_MAX},
        {"keep-days", config->keep_days_text, &config->keep_days, 0, 0, 36500},
        {"owner-jobs", config->owner_jobs_text, &config->owner_jobs, 100, 0, 1000000},
        {"queue-limit", config->queue_limit_text, &config->queue_limit, 1000, 0, 1000000},
        {"priority-limit", config->priority_limit_text, &config->priority_limit, 0, 0, 100},
        {"slurm-jobs", config->slurm_jobs_text, &config->slurm_jobs, 16, 1, 10000},
        {"slurm-poll", config->slurm_poll_text, &config->slurm_poll, 30, 1, 3600},
        {"slurm-silence", config->slurm_silence_text, &config->slurm_silence, 300, 20, SECONDS_MAX},
        {"owner-streams", config->owner_streams_text, &config->owner_streams, 64, 0, 1000000},
    };

    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        uint64_t number = (uint64_t)numbers[i].otherwise;
        char why[64];

        if (numbers[i].text && (str_parse_u64(numbers[i].text, (uint64_t)numbers[i].max, &number) ||
                                number < (uint64_t)numbers[i].min)) {
            snprintf(why, sizeof(why), "it is no whole number from %d to %d", numbers[i].min,
                     numbers[i].max);
            return invalid(failure, numbers[i].option, numbers[i].text, why);
        }
        *numbers[i].number = (int)number;
    }
    return 0;
}

/* "4" or "0-3" into @set. Return: 0 or -EINVAL. */
static int add_cpus(char *range, cpu_set_t *set) {
    char *dash = strchr(range, '-');
    uint64_t first, last;

    if (dash)
        *dash = '\0';
    if (str_parse_u64(range, CPU_SETSIZE - 1, &first) ||
        str_parse_u64(dash ? dash + 1 : range, CPU_SETSIZE - 1, &last) || last < first)
        return -EINVAL;
    for (; first <= last; first++)
        CPU_SET(first, set);
    return 0;
}

static int check_worker_cpus(struct config *config, struct failure *failure) {
    cleanup(freep) char *copy = NULL;
    cpu_set_t allowed, usable;
    char *rest = NULL;

    CPU_ZERO(&config->worker_cpus);
    if (!config->worker_cpus_text)
        return 0;
    copy = strdup(config->worker_cpus_text);
    if (!copy)
        return failure_oom(failure);
    for (char *at = strtok_r(copy, ",", &rest); at; at = strtok_r(NULL, ",", &rest)) {
        if (add_cpus(at, &config->worker_cpus))
            return invalid(failure, "worker-cpus", config->worker_cpus_text,
                           "it is no list of numbers and ranges, as 1-3,8");
    }
    if (sched_getaffinity(0, sizeof(allowed), &allowed))
        return failure_errno(failure, -errno, "cannot ask for", "processors");
    CPU_AND(&usable, &allowed, &config->worker_cpus);
    if (CPU_COUNT(&usable) == 0)
        return invalid(failure, "worker-cpus", config->worker_cpus_text,
                       "quantd may use none of these processors");
    return 0;
}

int config_check(struct config *config, const char *state_directory, const char *cache_directory,
                 struct failure *failure) {
    int r;

    if ((r = check_path(&config->state_dir, state_directory, "/var/lib/quantd", failure)) ||
        (r = check_jobs_dir(config, failure)) ||
        (r = check_path(&config->cache_dir, cache_directory, "/var/cache/quantd", failure)) ||
        (r = check_folders(&config->model_roots, "model-root", failure)) ||
        (r = check_folders(&config->data_roots, "data-root", failure)) ||
        (r = check_folders(&config->mirrors, "mirror", failure)) ||
        (r = check_listeners(config, failure)) || (r = check_devices(config, failure)) ||
        (r = check_log_level(config, failure)) || (r = check_worker_cpus(config, failure)) ||
        (r = check_numbers(config, failure)))
        return r;
    return config_check_slurm(config, failure);
}
