// SPDX-License-Identifier: Apache-2.0
#include "daemon/daemon.h"

#include "base/file.h"
#include "base/log/log.h"
#include "base/macros.h"
#include "base/str.h"
#include "daemon/config/notify.h"
#include "daemon/notify.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#define STOP_SECONDS 20 /* for all runs; TimeoutStopSec of the unit is longer */
#define SOCKETS_MAX 16
#define ROOM_SECONDS 30 /* between looks whether there is room for what has to be fetched */

static void on_device_failed(void *ctx) {
    struct daemon *daemon = ctx;

    daemon->device_failed = true;
    eventfd_write(daemon->failed_fd, 1);
}

static int make_folders(const struct config *config, struct failure *failure) {
    const char *const folders[] = {config->state_dir, config->jobs_dir, config->cache_dir};

    for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
        int r = dir_make(folders[i]);

        if (r)
            return failure_errno(failure, r, "cannot make", folders[i]);
    }
    return 0;
}

static bool is_pinned(void *ctx, const char *id) {
    struct daemon *daemon = ctx;

    return jobs_use_model(&daemon->jobs, id);
}

static int open_hub(struct daemon *daemon, struct failure *failure) {
    const struct config *config = daemon->config;
    struct hub_config hub = {.endpoint = config->hub_endpoint,
                             .token = config->hub_token,
                             .cache_dir = config->hub_cache,
                             .own_dir = config->cache_dir,
                             .offline = config->hub_offline,
                             .sources = config->data_sources.at,
                             .n_sources = config->data_sources.n,
                             .disk_floor = config->disk_floor,
                             .cache_limit = config->cache_limit,
                             .pinned = is_pinned,
                             .ctx = daemon};

    return hub_open(&hub, &daemon->hub, failure);
}

/* Without it each job computes what others have computed. */
static int open_states(struct daemon *daemon, struct failure *failure) {
    const struct config *config = daemon->config;
    cleanup(freep) char *dir = str_format("%s/states", config->cache_dir);
    int r =
        dir ? cache_open(&daemon->states, dir, config->states_limit, config->disk_floor) : -ENOMEM;

    if (r == -ENOMEM)
        return failure_oom(failure);
    if (r)
        log_warning("cannot use '%s', so no hidden states are kept: %s", dir, strerror(-r));
    return 0;
}

static void on_pulled(void *ctx) {
    struct daemon *daemon = ctx;

    executors_poll(daemon->executors);
}

static int start_puller(struct daemon *daemon, struct failure *failure) {
    struct puller_config config = {
        .jobs = &daemon->jobs, .pulled = on_pulled, .ctx = daemon, .room_seconds = ROOM_SECONDS};

    return puller_start(&config, &daemon->puller, failure);
}

static int start_notifier(struct daemon *daemon, struct failure *failure) {
    const struct notifier_config config = {.jobs = &daemon->jobs,
                                           .policy = &daemon->targets,
                                           .url = daemon->config->notify_url,
                                           .command = daemon->config->notify_command};

    return notifier_start(&config, &daemon->notifier, failure);
}

static int open_queue(struct daemon *daemon, struct failure *failure) {
    const struct config *config = daemon->config;
    int r = make_folders(config, failure);

    if (!r)
        r = store_open(config->state_dir, &daemon->store, failure);
    if (!r)
        r = tokens_open(daemon->store, config->tokens, config->n_tokens, &daemon->tokens, failure);
    if (!r)
        r = open_hub(daemon, failure);
    if (!r)
        r = open_states(daemon, failure);
    if (r)
        return r;
    daemon->events = events_new(daemon->store);
    daemon->cache = job_cache_new(daemon->store);
    daemon->hash_cache = str_format("%s/model-hashes.json", config->cache_dir);
    daemon->holds = holds_new();
    daemon->counts = counts_new();
    if (!daemon->events || !daemon->cache || !daemon->hash_cache || !daemon->holds ||
        !daemon->counts)
        return failure_oom(failure);
    models_set_roots(&daemon->models, config->model_roots.at, config->model_roots.n);
    daemon->jobs = (struct jobs){.store = daemon->store,
                                 .events = daemon->events,
                                 .cache = daemon->cache,
                                 .models = &daemon->models,
                                 .jobs_dir = config->jobs_dir,
                                 .hash_cache = daemon->hash_cache,
                                 .states = &daemon->states,
                                 .corpora = &daemon->corpora,
                                 .source = &daemon->source.source,
                                 .hub = daemon->hub,
                                 .disk = &daemon->disk,
                                 .holds = daemon->holds};
    lease_boot(daemon->jobs.boot);
    backup_init(&daemon->backup, daemon->store, &daemon->disk, config->state_dir);
    adoption_init(&daemon->adoption, &daemon->jobs);
    daemon->targets = config_target_policy(config);
    daemon->jobs.targets = &daemon->targets;
    daemon->jobs.quota.owner_jobs = config->owner_jobs;
    daemon->jobs.quota.queue_limit = config->queue_limit;
    daemon->jobs.quota.priority_limit = config->priority_limit;
    source_mirror_init(&daemon->mirror, config->mirrors.at, config->mirrors.n);
    hub_source_init(&daemon->source, &daemon->mirror.source, daemon->hub);
    daemon->corpora = (struct corpora){.source = &daemon->source.source,
                                       .data_roots = config->data_roots.at,
                                       .n_data_roots = config->data_roots.n};
    return 0;
}

static bool is_live(void *ctx, int64_t id) {
    struct daemon *daemon = ctx;

    return executors_live(daemon->executors, id);
}

static bool others_idle(void *ctx, const struct executor *executor) {
    struct daemon *daemon = ctx;

    return executors_idle(daemon->executors, executor);
}

static int open_executors(struct daemon *daemon, struct failure *failure) {
    const struct executor_config config = {.config = daemon->config,
                                           .jobs = &daemon->jobs,
                                           .corpora = &daemon->corpora,
                                           .failed = on_device_failed,
                                           .others_idle = others_idle,
                                           .ctx = daemon};

    daemon->jobs.lives = is_live;
    daemon->jobs.lives_ctx = daemon;
    daemon->failed_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (daemon->failed_fd < 0)
        return failure_errno(failure, -errno, "cannot make", "eventfd");
    return executors_open(&config, &daemon->executors, failure);
}

static int start_api(struct daemon *daemon, struct failure *failure) {
    const struct config *config = daemon->config;
    struct api_config api = {.listen = config->listen.at,
                             .n_listen = config->listen.n,
                             .allowed_hosts = config->allowed_hosts.at,
                             .n_allowed_hosts = config->allowed_hosts.n,
                             .admins = config->admins.at,
                             .n_admins = config->admins.n,
                             .limits.owner_streams = config->owner_streams};
    int fds[SOCKETS_MAX];
    int first = 0, n = 0;
    int r = notify_sockets(&first, &n);

    if (r || n > SOCKETS_MAX)
        return failure_set(failure, r ? r : -E2BIG, "config_invalid",
                           "see quantd.socket: it may list 16 sockets",
                           "cannot take the sockets of the service manager");
    for (int i = 0; i < n; i++)
        fds[i] = first + i;
    api.fds = fds;
    api.n_fds = n;
    if (n)
        api.n_listen = 0;
    service_init(&daemon->service, daemon);
    return api_start(&api, &daemon->service, &daemon->api, failure);
}

int daemon_start(const struct config *config, struct daemon **ret_daemon, struct failure *failure) {
    struct daemon *daemon = calloc(1, sizeof(*daemon));
    int r;

    if (!daemon)
        return failure_oom(failure);
    daemon->config = config;
    daemon->hang_seconds = config->hang_seconds;
    daemon->failed_fd = -1;
    disk_init(&daemon->disk, config->jobs_dir, config->disk_floor);

    notify_status("checking the store");
    r = open_queue(daemon, failure);
    if (!r)
        r = open_executors(daemon, failure);
    if (!r)
        r = jobs_recover(&daemon->jobs, failure);
    if (!r) {
        notify_status("opening devices");
        r = executors_start(daemon->executors, failure);
    }
    if (!r)
        r = start_puller(daemon, failure);
    if (!r)
        r = retention_start(&daemon->jobs, config->keep_days, &daemon->retention, failure);
    if (!r)
        r = start_notifier(daemon, failure);
    if (!r)
        r = start_api(daemon, failure);
    if (r) {
        daemon_stop(daemon);
        return r;
    }
    *ret_daemon = daemon;
    return 0;
}

bool daemon_is_alive(struct daemon *daemon, struct failure *failure) {
    int r;

    if (!executors_are_alive(daemon->executors, daemon->hang_seconds, failure))
        return false;
    /* That it answers is enough: a new process does not make room on a full disk. */
    r = store_begin(daemon->store, STORE_READ, failure);
    if (!r)
        store_end(daemon->store, 0, failure);
    return true;
}

/* Return: 0; or -ETIMEDOUT: some do not stop, and their jobs are back in the queue all the same. */
static int join_executors(struct daemon *daemon) {
    struct failure failure;

    if (!executors_join(daemon->executors, STOP_SECONDS))
        return 0;
    log_error("workers that do not stop lose their jobs, which go back into the queue");
    if (jobs_abandon(&daemon->jobs, &failure))
        log_error("cannot put these jobs back, the next start will: %s", failure.detail);
    return -ETIMEDOUT;
}

int daemon_stop(struct daemon *daemon) {
    if (!daemon)
        return 0;
    if (daemon->store)
        store_end_waits(daemon->store);
    executors_stop(daemon->executors);
    /* While runs stop: it does not take longer. */
    puller_stop(daemon->puller);
    retention_stop(daemon->retention);
    daemon->retention = NULL;
    /* Runs first: watchers still see that their job was interrupted. */
    if (join_executors(daemon))
        return -ETIMEDOUT;
    notifier_stop(daemon->notifier);
    api_stop(daemon->api);
    puller_free(daemon->puller); /* requests woke it until now */
    executors_free(daemon->executors);
    backup_done(&daemon->backup);
    adoption_stop(&daemon->adoption);
    events_free(daemon->events);
    holds_free(daemon->holds);
    job_cache_free(daemon->cache);
    counts_free(daemon->counts);
    tokens_free(daemon->tokens);
    store_close(daemon->store);
    hub_close(daemon->hub);
    disk_done(&daemon->disk);
    if (daemon->failed_fd >= 0)
        close(daemon->failed_fd);
    config_free(daemon->loaded);
    free(daemon->hash_cache);
    cache_close(&daemon->states);
    free(daemon);
    return 0;
}
