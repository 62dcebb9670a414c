// SPDX-License-Identifier: Apache-2.0
#include "daemon/retention.h"

#include "base/cache/cache.h"
#include "base/clock.h"
#include "base/log/log.h"
#include "base/macros.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

#define EVERY_SECONDS 3600
#define DAY_MS (24 * 3600 * (int64_t)1000)

struct retention {
    struct jobs *jobs;
    pthread_t thread;
    pthread_mutex_t mutex; /* guards woken */
    pthread_cond_t cond;
    bool woken;
    atomic_int keep_days;
    atomic_bool stop;
};

/* ---- one look ---- */

/* A moment for others: the store's lock is not a fair one. */
static void yield_store(void) {
    const struct timespec moment = {.tv_nsec = 2000000};

    nanosleep(&moment, NULL);
}

static int expire_keys(struct jobs *jobs, int64_t before, const atomic_bool *stop,
                       struct failure *failure) {
    int n = STORE_EXPIRE_MAX;

    while (n == STORE_EXPIRE_MAX && !*stop) {
        int r = store_begin(jobs->store, STORE_WORK, failure);

        if (r)
            return r;
        n = store_expire_keys(jobs->store, before);
        r = store_end(jobs->store, MIN(n, 0), failure);
        if (r)
            return r;
        yield_store();
    }
    return 0;
}

static int expire_progress(struct jobs *jobs, int64_t before, const atomic_bool *stop,
                           struct failure *failure) {
    int64_t after = 0;

    while (!*stop) {
        int r = store_begin(jobs->store, STORE_WORK, failure);

        if (r)
            return r;
        r = store_expire_progress(jobs->store, before, &after);
        if (r == -ENOENT)
            return store_end(jobs->store, 0, failure);
        r = store_end(jobs->store, MIN(r, 0), failure);
        if (r)
            return r;
        yield_store();
    }
    return 0;
}

/* They can be computed again: the next look may find what this one could not remove. */
static void sweep_states(const struct jobs *jobs) {
    if (jobs->states && cache_sweep(jobs->states))
        log_warning("cannot sweep '%s', the next try is in an hour", jobs->states->dir);
}

static int next_ended(struct jobs *jobs, int64_t before, struct store_ended *ended,
                      struct failure *failure) {
    int r = store_begin(jobs->store, STORE_READ, failure);

    if (r)
        return r;
    r = store_next_ended(jobs->store, before, ended);
    return store_end(jobs->store, r, failure);
}

/* A job whose checkpoint another one reads stays until that one has ended. */
static int expire_jobs(struct jobs *jobs, int64_t before, const atomic_bool *stop,
                       struct failure *failure) {
    struct store_ended ended = {};
    int n = 0, r = 0;

    while (!*stop && !(r = next_ended(jobs, before, &ended, failure))) {
        r = jobs_delete(jobs, &caller_daemon, ended.id, failure);
        n += r == 0;
        if (r && r != -EBUSY && r != -ENOENT)
            return r;
        yield_store();
    }
    return *stop || r == -ENOENT ? n : r;
}

int retention_sweep(struct jobs *jobs, int keep_days, int64_t now, const atomic_bool *stop,
                    struct failure *failure) {
    int r = expire_keys(jobs, now - RETENTION_KEY_DAYS * DAY_MS, stop, failure);

    sweep_states(jobs);
    if (!r)
        r = expire_progress(jobs, now - RETENTION_PROGRESS_DAYS * DAY_MS, stop, failure);
    if (!r && keep_days)
        r = expire_jobs(jobs, now - keep_days * DAY_MS, stop, failure);
    return r;
}

/* ---- the thread ---- */

static void wait_for_next(struct retention *retention) {
    struct timespec until;
    int r = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += EVERY_SECONDS;
    pthread_mutex_lock(&retention->mutex);
    while (!retention->woken && !retention->stop && r != ETIMEDOUT)
        r = pthread_cond_clockwait(&retention->cond, &retention->mutex, CLOCK_MONOTONIC, &until);
    retention->woken = false;
    pthread_mutex_unlock(&retention->mutex);
}

static void *retention_main(void *arg) {
    struct retention *retention = arg;

    pthread_setname_np(pthread_self(), "retention");
    while (!retention->stop) {
        int days = retention->keep_days;
        struct failure failure = {};
        int n = retention_sweep(retention->jobs, days, clock_wall_ms(), &retention->stop, &failure);

        if (n < 0)
            log_warning("cannot delete old jobs and rows, the next try is in an hour: %s",
                        failure.detail);
        if (n > 0)
            log_notice("deleted %d jobs that ended more than %d days ago", n, days);
        wait_for_next(retention);
    }
    return NULL;
}

int retention_start(struct jobs *jobs, int keep_days, struct retention **ret_retention,
                    struct failure *failure) {
    struct retention *retention = calloc(1, sizeof(*retention));
    int r;

    if (!retention)
        return failure_oom(failure);
    retention->jobs = jobs;
    retention->keep_days = keep_days;
    pthread_mutex_init(&retention->mutex, NULL);
    pthread_cond_init(&retention->cond, NULL);
    r = -pthread_create(&retention->thread, NULL, retention_main, retention);
    if (r) {
        free(retention);
        return failure_errno(failure, r, "cannot start the thread of", "the retention");
    }
    *ret_retention = retention;
    return 0;
}

static void wake(struct retention *retention) {
    pthread_mutex_lock(&retention->mutex);
    retention->woken = true;
    pthread_cond_signal(&retention->cond);
    pthread_mutex_unlock(&retention->mutex);
}

void retention_set_days(struct retention *retention, int keep_days) {
    retention->keep_days = keep_days;
    wake(retention);
}

void retention_stop(struct retention *retention) {
    if (!retention)
        return;
    retention->stop = true;
    wake(retention);
    pthread_join(retention->thread, NULL);
    pthread_cond_destroy(&retention->cond);
    pthread_mutex_destroy(&retention->mutex);
    free(retention);
}
