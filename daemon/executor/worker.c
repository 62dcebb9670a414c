// SPDX-License-Identifier: Apache-2.0
#include "daemon/executor/worker.h"

#include "base/clock.h"
#include "base/log/log.h"
#include "base/log/messages.h"
#include "base/str.h"
#include "daemon/executor/runner.h"
#include "kernels/registry.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

/* How long a worker waits after the store failed, or for room on the disk, before it asks again. */
#define RETRY_SECONDS 5

struct worker {
    struct worker_config config;
    char device[32];
    pthread_t thread;
    pthread_mutex_t mutex; /* guards all below; taken outside the store's */
    pthread_cond_t cond;
    struct backend *backend;  /* NULL: closed */
    struct backend_info info; /* as last seen */
    const char *kind;         /* "cpu", "cuda": as last seen */
    int64_t job_id;           /* 0: none */
    bool woken, usable, ended;
    atomic_int idle_seconds;
    atomic_bool cancel, stop;
    atomic_bool waiting;         /* for work */
    atomic_int_fast64_t renewed; /* lease_now() at the last sign of life while there is work */
};

/* Opens the backend. Worker's thread, or before it runs. */
static int open_backend(struct worker *worker, struct failure *failure) {
    struct backend *backend = NULL;
    struct backend_info info;
    int r;

    if (worker->backend)
        return 0;
    r = backend_open(worker->device, &backend, failure);
    if (!r)
        backend->ops->info(backend, &info);
    pthread_mutex_lock(&worker->mutex);
    worker->usable = !r;
    if (r) {
        pthread_mutex_unlock(&worker->mutex);
        return r;
    }
    worker->backend = backend;
    worker->info = info;
    worker->kind = backend->ops->name;
    pthread_mutex_unlock(&worker->mutex);
    return 0;
}

static void close_backend(struct worker *worker) {
    struct backend *backend;

    pthread_mutex_lock(&worker->mutex);
    backend = steal_ptr(worker->backend);
    if (backend)
        backend->ops->info(backend, &worker->info);
    pthread_mutex_unlock(&worker->mutex);
    if (backend) {
        backend->ops->close(backend);
        log_debug("%s: closed, idle", worker->device);
    }
}

/* Claims with the mutex held, so that a cancel finds either a queued job or its worker. */
static int claim(struct worker *worker, struct job_row **ret_row) {
    struct failure failure;
    int r;

    pthread_mutex_lock(&worker->mutex);
    worker->cancel = false;
    r = jobs_claim(worker->config.jobs, worker->device, ret_row, &failure);
    if (!r)
        worker->job_id = (*ret_row)->id;
    pthread_mutex_unlock(&worker->mutex);
    if (r && r != -ENOENT && r != -ENOSPC)
        log_error("%s: cannot claim a job: %s", worker->device, failure.detail);
    return r;
}

/* Return: false when the device needs a new process. */
static bool run_job(struct worker *worker, const struct job_row *row) {
    struct runner runner = {.jobs = worker->config.jobs,
                            .corpora = worker->config.corpora,
                            .cancel = &worker->cancel,
                            .stop = &worker->stop,
                            .renewed = &worker->renewed};
    struct failure failure;
    bool poisoned = false;

    if (open_backend(worker, &failure))
        runner_fail(&runner, row->id, &failure);
    else
        poisoned = runner_run(&runner, row, worker->backend);
    pthread_mutex_lock(&worker->mutex);
    worker->job_id = 0;
    worker->usable &= !poisoned;
    pthread_mutex_unlock(&worker->mutex);
    return !poisoned;
}

/* Waits until woken, stopped, or @until (monotonic; 0: for ever). Return: false at @until. */
static bool wait_for_work(struct worker *worker, double until) {
    struct timespec at = clock_timespec(until);
    int r = 0;

    worker->waiting = true;
    pthread_mutex_lock(&worker->mutex);
    while (!worker->woken && !worker->stop && r != ETIMEDOUT) {
        if (until > 0)
            r = pthread_cond_clockwait(&worker->cond, &worker->mutex, CLOCK_MONOTONIC, &at);
        else
            pthread_cond_wait(&worker->cond, &worker->mutex);
    }
    worker->woken = false;
    pthread_mutex_unlock(&worker->mutex);
    worker->renewed = lease_now();
    worker->waiting = false;
    return r != ETIMEDOUT;
}

static void *worker_main(void *arg) {
    struct worker *worker = arg;

    pthread_setname_np(pthread_self(), "worker");
    while (!worker->stop) {
        cleanup(job_row_freep) struct job_row *row = NULL;
        int r;

        worker->renewed = lease_now();
        r = claim(worker, &row);

        if (!r && !run_job(worker, row)) {
            log_record(LOG_ERR, LOG_FIELDS(MESSAGE_DEVICE_FAILED, .device = worker->device),
                       "device %s failed, a new process is needed", worker->device);
            worker->config.device_failed(worker->config.ctx);
            break;
        }
        if (r == -ENOENT) {
            double idle = worker->backend ? clock_monotonic() + worker->idle_seconds : 0;

            if (!wait_for_work(worker, idle))
                close_backend(worker);
        } else if (r) {
            if (r == -ENOSPC)
                close_backend(worker); /* that may take long */
            wait_for_work(worker, clock_monotonic() + RETRY_SECONDS);
        }
    }
    close_backend(worker);
    pthread_mutex_lock(&worker->mutex);
    worker->ended = true;
    pthread_cond_broadcast(&worker->cond);
    pthread_mutex_unlock(&worker->mutex);
    return NULL;
}

int worker_start(const struct worker_config *config, struct worker **ret_worker,
                 struct failure *failure) {
    struct worker *worker = calloc(1, sizeof(*worker));
    int r;

    if (!worker)
        return failure_oom(failure);
    worker->config = *config;
    worker->idle_seconds = config->idle_seconds;
    snprintf(worker->device, sizeof(worker->device), "%s", config->device);
    pthread_mutex_init(&worker->mutex, NULL);
    pthread_cond_init(&worker->cond, NULL);
    worker->renewed = lease_now();

    r = open_backend(worker, failure);
    if (!r) {
        log_info("device %s: %s", worker->device, worker->info.name);
        close_backend(worker);
        r = -pthread_create(&worker->thread, NULL, worker_main, worker);
        if (r)
            failure_errno(failure, r, "cannot start the thread of", worker->device);
    }
    if (r) {
        worker_free(worker);
        return r;
    }
    *ret_worker = worker;
    return 0;
}

void worker_set_idle(struct worker *worker, int seconds) {
    worker->idle_seconds = seconds;
}

void worker_wake(struct worker *worker) {
    pthread_mutex_lock(&worker->mutex);
    worker->woken = true;
    pthread_cond_broadcast(&worker->cond); /* who joins may wait too */
    pthread_mutex_unlock(&worker->mutex);
}

void worker_cancel(struct worker *worker, int64_t id) {
    pthread_mutex_lock(&worker->mutex);
    if (worker->job_id == id)
        worker->cancel = true;
    pthread_mutex_unlock(&worker->mutex);
}

json_t *worker_describe(struct worker *worker) {
    struct backend_info info;
    const char *kind;
    int64_t job_id;

    pthread_mutex_lock(&worker->mutex);
    if (worker->backend)
        worker->backend->ops->info(worker->backend, &worker->info);
    info = worker->info;
    if (!worker->backend)
        info.utilization = -1; /* that of long ago */
    kind = worker->kind;
    job_id = worker->job_id;
    pthread_mutex_unlock(&worker->mutex);
    return json_pack("{ss ss ss sI sI so so}", "id", worker->device, "kind", kind, "name",
                     info.name, "memory_total", (json_int_t)info.memory_total, "memory_free",
                     (json_int_t)info.memory_free, "utilization",
                     info.utilization < 0 ? json_null() : json_real(info.utilization), "job",
                     job_id ? json_integer(job_id) : json_null());
}

bool worker_is_usable(struct worker *worker) {
    bool usable;

    pthread_mutex_lock(&worker->mutex);
    usable = worker->usable;
    pthread_mutex_unlock(&worker->mutex);
    return usable;
}

double worker_silence(struct worker *worker) {
    int64_t renewed;

    /* In this order: a worker that stops waiting has renewed before. */
    if (worker->waiting)
        return 0;
    renewed = worker->renewed;
    return (double)(lease_now() - renewed) / 1000;
}

void worker_stop(struct worker *worker) {
    worker->stop = true;
    worker_wake(worker);
}

int worker_join(struct worker *worker, int seconds) {
    struct timespec until;
    bool ended;
    int r = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += seconds;
    pthread_mutex_lock(&worker->mutex);
    while (!worker->ended && r != ETIMEDOUT)
        r = pthread_cond_clockwait(&worker->cond, &worker->mutex, CLOCK_MONOTONIC, &until);
    ended = worker->ended;
    pthread_mutex_unlock(&worker->mutex);
    return ended ? -pthread_join(worker->thread, NULL) : -ETIMEDOUT;
}

void worker_free(struct worker *worker) {
    if (!worker)
        return;
    close_backend(worker);
    pthread_cond_destroy(&worker->cond);
    pthread_mutex_destroy(&worker->mutex);
    free(worker);
}
