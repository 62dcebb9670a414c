// SPDX-License-Identifier: Apache-2.0
#include "daemon/executor/worker.h"

#include "base/clock.h"
#include "base/log/log.h"
#include "base/log/messages.h"
#include "base/str.h"
#include "daemon/executor/runner.h"
#include "daemon/queue/job_json.h"
#include "kernels/registry.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

/* How long a worker waits after the store failed, or for room on the disk, before it asks again. */
#define RETRY_SECONDS 5
#define LOOK_BUSY_SECONDS 1.0 /* between looks at a device that works */
#define LOOK_IDLE_SECONDS 5.0 /* and at one that is open and waits */

/* What the worker's thread last saw. */
struct seen {
    struct backend_info info;
    const char *kind; /* "cpu", "cuda" */
    int64_t job_id;   /* 0: none */
    bool open;
    bool usable;
    struct failure why; /* it is not */
};

struct worker {
    struct worker_config config;
    char device[32];
    pthread_t thread;
    pthread_mutex_t mutex; /* guards the next four; held for no call of the device or the store */
    pthread_cond_t cond;
    struct seen seen;
    bool woken, ended;
    atomic_int idle_seconds;
    atomic_bool cancel, stop;
    atomic_bool waiting;         /* for work */
    atomic_int_fast64_t renewed; /* lease_now() at the last sign of life while there is work */

    /* The thread's own, or its maker's before it runs. */
    struct backend *backend; /* NULL: closed */
    double looked_at;        /* monotonic: at the device */
    int retry_seconds;       /* the last wait for the device; 0: it could be opened */
    double retry_at;         /* monotonic: it is not tried before */
};

/* Asks the device how it is, at most every @seconds. */
static void look(struct worker *worker, double seconds) {
    double now = clock_monotonic();
    struct backend_info info;

    if (!worker->backend || now - worker->looked_at < seconds)
        return;
    worker->backend->ops->info(worker->backend, &info);
    worker->looked_at = clock_monotonic();
    pthread_mutex_lock(&worker->mutex);
    worker->seen.info = info;
    pthread_mutex_unlock(&worker->mutex);
}

static void on_alive(void *ctx) {
    struct worker *worker = ctx;

    worker->renewed = lease_now();
    look(worker, LOOK_BUSY_SECONDS);
}

static const char *larger(void *ctx, bool *ret_usable) {
    struct worker *worker = ctx;

    return worker->config.larger
               ? worker->config.larger(worker->config.ctx, worker_memory(worker), ret_usable)
               : NULL;
}

/* It cannot be opened now: the longer that lasts, the less often it is tried. */
static void note_unusable(struct worker *worker, const struct failure *why) {
    int seconds = worker->retry_seconds * 2;

    worker->retry_seconds = MIN(MAX(seconds, WORKER_RETRY_FIRST), WORKER_RETRY_MAX);
    worker->retry_at = clock_monotonic() + worker->retry_seconds;
    pthread_mutex_lock(&worker->mutex);
    worker->seen.usable = false;
    worker->seen.why = *why;
    pthread_mutex_unlock(&worker->mutex);
    log_record(LOG_WARNING, LOG_FIELDS(.device = worker->device, .code = why->code),
               "%s cannot be used, jobs wait, tried again in %d s: %s%s%s", worker->device,
               worker->retry_seconds, why->detail, why->hint[0] ? "; " : "", why->hint);
}

static int open_backend(struct worker *worker, struct failure *failure) {
    struct backend *backend = NULL;
    struct backend_info info;
    int r;

    if (worker->backend)
        return 0;
    r = backend_open(worker->device, &backend, failure);
    if (r)
        return r;
    backend->ops->info(backend, &info);
    if (worker->retry_seconds)
        log_notice("%s can be used again", worker->device);
    worker->backend = backend;
    worker->looked_at = clock_monotonic();
    worker->retry_seconds = 0;
    worker->retry_at = 0;
    pthread_mutex_lock(&worker->mutex);
    worker->seen.info = info;
    worker->seen.kind = backend->ops->name;
    worker->seen.open = worker->seen.usable = true;
    pthread_mutex_unlock(&worker->mutex);
    return 0;
}

static void close_backend(struct worker *worker) {
    struct backend *backend;

    if (!worker->backend)
        return;
    look(worker, 0);
    pthread_mutex_lock(&worker->mutex);
    worker->seen.open = false;
    pthread_mutex_unlock(&worker->mutex);
    backend = steal_ptr(worker->backend);
    backend->ops->close(backend);
    log_debug("%s: closed, idle", worker->device);
}

static void set_job(struct worker *worker, int64_t id) {
    pthread_mutex_lock(&worker->mutex);
    worker->seen.job_id = id;
    pthread_mutex_unlock(&worker->mutex);
}

/*
 * Whoever cancels stores it, then looks for the job's worker. So the worker says first which job
 * it has, then looks whether that was cancelled before.
 */
static int claim(struct worker *worker, struct job_row **ret_row, struct failure *failure) {
    cleanup(job_row_freep) struct job_row *now = NULL;
    int r;

    worker->cancel = false;
    r = jobs_claim(worker->config.jobs, worker->device, ret_row, failure);
    if (r)
        return r;
    set_job(worker, (*ret_row)->id);
    if (!jobs_find(worker->config.jobs, (*ret_row)->id, &now, failure) &&
        now->status == JOB_CANCELLING)
        worker->cancel = true;
    return 0;
}

/* Claims a job once the device is open, and opens it once there is one. */
static int next_job(struct worker *worker, struct job_row **ret_row) {
    struct failure failure;
    int r = worker->backend ? 0 : jobs_look(worker->config.jobs, worker->device, &failure);

    if (!r && !worker->backend) {
        r = clock_monotonic() < worker->retry_at ? -EAGAIN : open_backend(worker, &failure);
        if (r && r != -EAGAIN)
            note_unusable(worker, &failure);
        if (r)
            return -EAGAIN;
    }
    if (!r)
        r = claim(worker, ret_row, &failure);
    if (r && r != -ENOENT && r != -ENOSPC)
        log_error("%s: cannot claim a job: %s", worker->device, failure.detail);
    return r;
}

/* Return: false when the device needs a new process. */
static bool run_job(struct worker *worker, const struct job_row *row) {
    struct sink sink = {.jobs = worker->config.jobs,
                        .row = row,
                        .device = worker->device,
                        .cancel = &worker->cancel,
                        .stop = &worker->stop,
                        .alive = on_alive,
                        .larger = larger,
                        .ctx = worker};
    bool poisoned = runner_run(&sink, worker->config.corpora, worker->backend);

    pthread_mutex_lock(&worker->mutex);
    worker->seen.job_id = 0;
    if (poisoned) {
        worker->seen.usable = false;
        failure_set(&worker->seen.why, -EIO, "device_failed", "quantd is about to restart",
                    "the device failed");
    }
    pthread_mutex_unlock(&worker->mutex);
    if (worker->config.left)
        worker->config.left(worker->config.ctx);
    return !poisoned;
}

/* Waits until woken, stopped, or @until (monotonic; 0: for ever). Return: false at @until. */
static bool wait_until(struct worker *worker, double until) {
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

/* The earlier of two times, of which 0 is never. */
static double earlier(double one, double other) {
    return one == 0 || (other != 0 && other < one) ? other : one;
}

/*
 * Waits for work, or until a job that is held can be tried again; an open device is looked at
 * meanwhile, and closed when it was idle for long.
 */
static void wait_for_work(struct worker *worker) {
    double since = clock_monotonic();
    double held_until = holds_next(worker->config.jobs->holds, worker->device);

    while (worker->backend) {
        double close_at = since + worker->idle_seconds;
        double until = MIN(close_at, clock_monotonic() + LOOK_IDLE_SECONDS);

        if (wait_until(worker, earlier(held_until, until)))
            return;
        if (held_until != 0 && clock_monotonic() >= held_until)
            return;
        if (clock_monotonic() >= close_at)
            close_backend(worker);
        else
            look(worker, 0);
    }
    wait_until(worker, held_until);
}

/* Nothing could be claimed, for @r. */
static void wait_after(struct worker *worker, int r) {
    if (r == -ENOENT) {
        wait_for_work(worker);
    } else if (r == -EAGAIN) {
        wait_until(worker, worker->retry_at);
    } else {
        if (r == -ENOSPC)
            close_backend(worker); /* that may take long */
        wait_until(worker, clock_monotonic() + RETRY_SECONDS);
    }
}

static void *worker_main(void *arg) {
    struct worker *worker = arg;

    pthread_setname_np(pthread_self(), "worker");
    while (!worker->stop) {
        cleanup(job_row_freep) struct job_row *row = NULL;
        int r;

        worker->renewed = lease_now();
        r = next_job(worker, &row);

        if (!r && !run_job(worker, row)) {
            log_record(LOG_ERR, LOG_FIELDS(MESSAGE_DEVICE_FAILED, .device = worker->device),
                       "device %s failed, a new process is needed", worker->device);
            worker->config.device_failed(worker->config.ctx);
            break;
        }
        if (r)
            wait_after(worker, r);
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

    worker->seen.kind = str_has_prefix(worker->device, "cuda") ? "cuda" : "cpu";
    snprintf(worker->seen.info.name, sizeof(worker->seen.info.name), "%s", worker->device);

    r = open_backend(worker, failure);
    if (r && r != -EINVAL && r != -ENODEV) {
        note_unusable(worker, failure);
        r = 0;
    }
    if (!r) {
        log_info("device %s: %s", worker->device, worker->seen.info.name);
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

const char *worker_device(const struct worker *worker) {
    return worker->device;
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
    if (worker->seen.job_id == id)
        worker->cancel = true;
    pthread_mutex_unlock(&worker->mutex);
}

static struct seen see(struct worker *worker) {
    struct seen seen;

    pthread_mutex_lock(&worker->mutex);
    seen = worker->seen;
    pthread_mutex_unlock(&worker->mutex);
    return seen;
}

json_t *worker_describe(struct worker *worker) {
    struct seen seen = see(worker);

    if (!seen.open)
        seen.info.utilization = -1; /* that of long ago */
    return json_pack("{ss ss ss ss sI sI so so so}", "id", worker->device, "kind", seen.kind,
                     "name", seen.info.name, "library", seen.info.library, "memory_total",
                     (json_int_t)seen.info.memory_total, "memory_free",
                     (json_int_t)seen.info.memory_free, "utilization",
                     seen.info.utilization < 0 ? json_null() : json_real(seen.info.utilization),
                     "job", seen.job_id ? json_integer(seen.job_id) : json_null(), "error",
                     seen.usable ? json_null() : failure_to_json(&seen.why));
}

size_t worker_memory(struct worker *worker) {
    return see(worker).info.memory_total;
}

bool worker_is_usable(struct worker *worker) {
    return see(worker).usable;
}

bool worker_is_idle(struct worker *worker) {
    const struct seen seen = see(worker);

    return seen.usable && !seen.job_id; /* one that was just woken has no job yet */
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
