// SPDX-License-Identifier: Apache-2.0
#include "daemon/status.h"

#include "daemon/daemon.h"

#include <errno.h>
#include <sys/statvfs.h>
#include <unistd.h>

_Static_assert(SERVICE_STATUSES == N_JOB_STATUS, "the api shows every status");

/* The disk of the folder @path; @limit, called @name: what the configuration says about it. */
static json_t *describe_disk(const char *path, const char *name, uint64_t limit) {
    struct statvfs st;

    if (statvfs(path, &st))
        return json_pack("{ss sn sn sI}", "path", path, "bytes_free", "bytes_total", name,
                         (json_int_t)limit);
    return json_pack("{ss sI sI sI}", "path", path, "bytes_free",
                     (json_int_t)(st.f_bavail * st.f_frsize), "bytes_total",
                     (json_int_t)(st.f_blocks * st.f_frsize), name, (json_int_t)limit);
}

static int add_roots(json_t *list, const char *kind, char *const *roots, int n_roots) {
    for (int i = 0; i < n_roots; i++) {
        bool readable = access(roots[i], R_OK | X_OK) == 0;

        if (json_array_append_new(list, json_pack("{ss ss sb}", "kind", kind, "path", roots[i],
                                                  "readable", readable)))
            return -ENOMEM;
    }
    return 0;
}

static json_t *describe_roots(struct daemon *daemon) {
    const struct config *config = daemon->config;
    json_t *list = json_array();
    int r;

    pthread_rwlock_rdlock(&daemon->models.lock);
    r = add_roots(list, "model", daemon->models.roots, daemon->models.n_roots);
    pthread_rwlock_unlock(&daemon->models.lock);
    if (r || add_roots(list, "data", config->data_roots.at, config->data_roots.n)) {
        json_decref(list);
        return NULL;
    }
    return list;
}

static json_t *describe_states(const struct cache *states) {
    uint64_t bytes = 0;
    int n = 0;

    cache_measure(states, &n, &bytes); /* what cannot be listed is not kept */
    return json_pack("{ss? si sI sI}", "path", states->dir, "files", n, "bytes", (json_int_t)bytes,
                     "limit", (json_int_t)states->limit);
}

int status_describe(struct daemon *daemon, json_t **ret_status, struct failure *failure) {
    const struct config *config = daemon->config;
    json_t *status =
        json_pack("{ss ss so so so so so}", "object", "status", "version", QUANTD_VERSION, "state",
                  describe_disk(config->state_dir, "floor", daemon->disk.floor), "cache",
                  describe_disk(config->hub_cache, "limit", hub_cache_limit(daemon->hub)), "states",
                  describe_states(&daemon->states), "roots", describe_roots(daemon), "hub",
                  hub_describe(daemon->hub));

    if (!status)
        return failure_oom(failure);
    *ret_status = status;
    return 0;
}

int status_health(struct daemon *daemon, json_t **ret_health, struct failure *failure) {
    struct failure why;
    int64_t n;
    int r;

    if (daemon->device_failed)
        return failure_set(failure, -EAGAIN, "device_failed", "quantd is about to restart",
                           "a device failed");
    r = store_begin(daemon->store, STORE_READ, &why);
    if (!r) {
        r = store_count_jobs(daemon->store, JOB_QUEUED, &n);
        r = store_end(daemon->store, r, &why);
    }
    if (r)
        return failure_set(failure, -EAGAIN, "store_error", why.hint, "%s", why.detail);
    *ret_health = json_pack("{ss}", "status", "ok");
    return *ret_health ? 0 : failure_oom(failure);
}

int status_ready(struct daemon *daemon, json_t **ret_ready, struct failure *failure) {
    json_t *healthy = NULL;
    int r = status_health(daemon, &healthy, failure);

    if (!r && !executors_are_usable(daemon->executors))
        r = failure_set(failure, -EAGAIN, "no_device", "the log of quantd has the reason",
                        "no device can be opened");
    if (!r && disk_check(&daemon->disk, failure))
        r = -EAGAIN;
    if (r) {
        json_decref(healthy);
        return r;
    }
    *ret_ready = healthy;
    return 0;
}

int status_stats(struct daemon *daemon, struct service_stats *ret_stats, struct failure *failure) {
    const struct stats *stats = &daemon->jobs.stats;
    int64_t n[N_JOB_STATUS];
    int r = store_begin(daemon->store, STORE_READ, failure);

    if (r)
        return r;
    r = store_count_by_status(daemon->store, n);
    r = store_end(daemon->store, r, failure);
    if (r)
        return r;
    *ret_stats = (struct service_stats){.wait = histogram_read(&stats->wait),
                                        .run = histogram_read(&stats->run),
                                        .divergence = histogram_read(&stats->divergence),
                                        .store = store_seconds(daemon->store),
                                        .n_layers = atomic_load(&stats->n_layers),
                                        .n_tokens = atomic_load(&stats->n_tokens)};
    for (int i = 0; i < N_JOB_STATUS; i++) {
        ret_stats->jobs[i].status = job_status_name(i);
        ret_stats->jobs[i].n = (uint64_t)n[i];
    }
    return 0;
}
