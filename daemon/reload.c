// SPDX-License-Identifier: Apache-2.0
#include "daemon/reload.h"

#include "base/log/log.h"
#include "base/macros.h"
#include "base/str.h"

static int set_log_level(struct daemon *daemon, const struct config *config) {
    (void)daemon;
    log_set_level(config->log_level);
    return 0;
}

static int set_hosts(struct daemon *daemon, const struct config *config) {
    return api_set_allowed_hosts(daemon->api, config->allowed_hosts.at, config->allowed_hosts.n);
}

static int set_admins(struct daemon *daemon, const struct config *config) {
    return api_set_admins(daemon->api, config->admins.at, config->admins.n);
}

static int set_tokens(struct daemon *daemon, const struct config *config) {
    tokens_set_fixed(daemon->tokens, config->tokens, config->n_tokens);
    return 0;
}

static int set_disk(struct daemon *daemon, const struct config *config) {
    daemon->disk.floor = config->disk_floor;
    hub_set_limits(daemon->hub, config->disk_floor, config->cache_limit);
    daemon->states.floor = config->disk_floor;
    daemon->states.limit = config->states_limit;
    cache_sweep(&daemon->states); /* what does not succeed now does in an hour */
    return 0;
}

static int set_executors(struct daemon *daemon, const struct config *config) {
    executors_reload(daemon->executors, config);
    return 0;
}

static int set_hang(struct daemon *daemon, const struct config *config) {
    daemon->hang_seconds = config->hang_seconds;
    return set_executors(daemon, config);
}

static int set_keep_days(struct daemon *daemon, const struct config *config) {
    retention_set_days(daemon->retention, config->keep_days);
    return 0;
}

/* Jobs that are there stay. */
static int set_quotas(struct daemon *daemon, const struct config *config) {
    daemon->jobs.quota.owner_jobs = config->owner_jobs;
    daemon->jobs.quota.queue_limit = config->queue_limit;
    daemon->jobs.quota.priority_limit = config->priority_limit;
    return 0;
}

/* Jobs that were submitted keep the folder that they found. */
static int set_model_roots(struct daemon *daemon, const struct config *config) {
    models_set_roots(&daemon->models, config->model_roots.at, config->model_roots.n);
    return 0;
}

/* What can change at run time. All else needs a restart. */
static const struct live {
    const char *option;
    int (*set)(struct daemon *daemon, const struct config *config); /* 0 or -ENOMEM */
} live_options[] = {
    {"admin", set_admins},
    {"allowed-host", set_hosts},
    {"cache-limit", set_disk},
    {"disk-floor", set_disk},
    {"hang-seconds", set_hang},
    {"idle-seconds", set_executors},
    {"keep-days", set_keep_days},
    {"log-level", set_log_level},
    {"model-root", set_model_roots},
    {"owner-jobs", set_quotas},
    {"queue-limit", set_quotas},
    {"priority-limit", set_quotas},
    {"states-limit", set_disk},
    {"token-file", set_tokens},
    {"slurm-run", set_executors},
    {"slurm-partition", set_executors},
    {"slurm-account", set_executors},
    {"slurm-qos", set_executors},
    {"slurm-gres", set_executors},
    {"slurm-cpus", set_executors},
    {"slurm-memory", set_executors},
    {"slurm-time", set_executors},
    {"slurm-option", set_executors},
    {"slurm-jobs", set_executors},
    {"slurm-poll", set_executors},
    {"slurm-silence", set_executors},
};

static const struct live *find_live(const char *option) {
    for (size_t i = 0; i < ARRAY_SIZE(live_options); i++) {
        if (str_equal(live_options[i].option, option))
            return &live_options[i];
    }
    return NULL;
}

struct reload {
    struct daemon *daemon;
    const struct config *config;
    int n_fixed;
};

/* An option differs from what was read last. */
static void take_live(void *ctx, const char *option) {
    struct reload *reload = ctx;
    const struct live *live = find_live(option);

    if (!live)
        return;
    if (live->set(reload->daemon, reload->config))
        log_error("cannot change '%s' while running: out of memory", option);
    else
        log_info("reloaded: '%s' has changed", option);
}

/* An option differs from what the daemon was started with. */
static void note_fixed(void *ctx, const char *option) {
    struct reload *reload = ctx;

    if (find_live(option))
        return;
    log_warning("'%s' has changed and needs a restart", option);
    reload->n_fixed++;
}

int daemon_reload(struct daemon *daemon, struct config *config) {
    struct reload reload = {.daemon = daemon, .config = config};

    config_compare(daemon->loaded ? daemon->loaded : daemon->config, config, take_live, &reload);
    config_compare(daemon->config, config, note_fixed, &reload);
    /* The new one lends its lists now; those of the old one are no longer in use. */
    config_free(daemon->loaded);
    daemon->loaded = config;
    return reload.n_fixed;
}
