// SPDX-License-Identifier: Apache-2.0
/* The executor of this machine: a worker for each of its devices. */
#include "base/clock.h"
#include "base/log/log.h"
#include "base/str.h"
#include "daemon/executor/executor.h"
#include "daemon/executor/worker.h"
#include "kernels/registry.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>

struct local {
    struct executor executor;
    struct executor_config config;
    pthread_mutex_t mutex;   /* held while workers are started: theirs ask for each other */
    struct worker **workers; /* [n_workers], owned; complete once start() has returned */
    int n_workers;
};

static struct local *local_of(struct executor *executor) {
    return (struct local *)executor; /* its first member */
}

static int local_open(const struct executor_config *config, struct executor **ret_executor,
                      struct failure *failure) {
    struct local *local = calloc(1, sizeof(*local));

    if (!local)
        return failure_oom(failure);
    pthread_mutex_init(&local->mutex, NULL);
    local->executor.ops = &executor_local;
    local->config = *config;
    *ret_executor = &local->executor;
    return 0;
}

static void on_device_failed(void *ctx) {
    struct local *local = ctx;

    local->config.failed(local->config.ctx);
}

static void local_poll(struct executor *executor) {
    struct local *local = local_of(executor);

    for (int i = 0; i < local->n_workers; i++)
        worker_wake(local->workers[i]);
}

/* A job that this device did not fit may be for one that sleeps. */
static void on_left(void *ctx) {
    struct local *local = ctx;

    pthread_mutex_lock(&local->mutex);
    local_poll(&local->executor);
    pthread_mutex_unlock(&local->mutex);
}

static const char *larger(void *ctx, size_t memory, bool *ret_usable) {
    struct local *local = ctx;
    const char *device = NULL;

    *ret_usable = false;
    pthread_mutex_lock(&local->mutex);
    for (int i = 0; i < local->n_workers && !*ret_usable; i++) {
        if (worker_memory(local->workers[i]) <= memory)
            continue;
        device = worker_device(local->workers[i]);
        *ret_usable = worker_is_usable(local->workers[i]);
    }
    pthread_mutex_unlock(&local->mutex);
    return device;
}

static int start_worker(struct local *local, const char *device, struct failure *failure) {
    const struct worker_config config = {.device = device,
                                         .idle_seconds = local->config.config->idle_seconds,
                                         .jobs = local->config.jobs,
                                         .corpora = local->config.corpora,
                                         .device_failed = on_device_failed,
                                         .larger = larger,
                                         .left = on_left,
                                         .ctx = local};
    struct worker **workers =
        reallocarray(local->workers, local->n_workers + 1, sizeof(*local->workers));
    int r;

    if (!workers)
        return failure_oom(failure);
    local->workers = workers;
    r = worker_start(&config, &workers[local->n_workers], failure);
    local->n_workers += r == 0;
    return r;
}

/* "auto": every CUDA device that is there, else the cpu. */
static int start_auto_workers(struct local *local, struct failure *failure) {
    char device[32];
    int n = 0, r;

    r = backend_count("cuda", &n);
    if (r || n == 0)
        return start_worker(local, "cpu", failure);
    for (int i = 0; i < n && !r; i++) {
        snprintf(device, sizeof(device), "cuda:%d", i);
        r = start_worker(local, device, failure);
    }
    return r;
}

static int start_workers(struct local *local, struct failure *failure) {
    const struct config_list *devices = &local->config.config->devices;
    int r = 0;

    for (int i = 0; i < devices->n && !r; i++) {
        if (str_equal(devices->at[i], "none"))
            continue;
        if (str_equal(devices->at[i], "auto"))
            r = start_auto_workers(local, failure);
        else
            r = start_worker(local, devices->at[i], failure);
    }
    return r;
}

static int start_all(struct local *local, struct failure *failure) {
    int r;

    pthread_mutex_lock(&local->mutex);
    r = start_workers(local, failure);
    pthread_mutex_unlock(&local->mutex);
    return r;
}

/* Threads inherit the processors that their maker may use, and the cpu backend counts them. */
static int local_start(struct executor *executor, struct failure *failure) {
    struct local *local = local_of(executor);
    const cpu_set_t *cpus = &local->config.config->worker_cpus;
    cpu_set_t mine;
    int r;

    if (CPU_COUNT(cpus) == 0)
        return start_all(local, failure);
    if (sched_getaffinity(0, sizeof(mine), &mine) || sched_setaffinity(0, sizeof(*cpus), cpus))
        return failure_errno(failure, -errno, "cannot choose", "processors");
    r = start_all(local, failure);
    sched_setaffinity(0, sizeof(mine), &mine);
    return r;
}

static void local_cancel(struct executor *executor, int64_t id) {
    struct local *local = local_of(executor);

    for (int i = 0; i < local->n_workers; i++)
        worker_cancel(local->workers[i], id);
}

static int local_describe(struct executor *executor, json_t *devices) {
    struct local *local = local_of(executor);

    for (int i = 0; i < local->n_workers; i++) {
        if (json_array_append_new(devices, worker_describe(local->workers[i])))
            return -ENOMEM;
    }
    return 0;
}

/* Its runs are threads of this process. */
static bool local_lives(struct executor *executor, int64_t id) {
    (void)executor;
    (void)id;
    return false;
}

static bool local_usable(struct executor *executor) {
    struct local *local = local_of(executor);
    bool usable = false;

    for (int i = 0; i < local->n_workers; i++)
        usable |= worker_is_usable(local->workers[i]);
    return usable;
}

static bool local_idle(struct executor *executor) {
    struct local *local = local_of(executor);
    bool idle = false;

    for (int i = 0; i < local->n_workers; i++)
        idle |= worker_is_idle(local->workers[i]);
    return idle;
}

static bool local_alive(struct executor *executor, int seconds, struct failure *failure) {
    struct local *local = local_of(executor);

    for (int i = 0; i < local->n_workers; i++) {
        double silence = worker_silence(local->workers[i]);

        /* Another program holds the database: that is not the device's fault. */
        if (silence > seconds && !store_waits(local->config.jobs->store)) {
            failure_set(failure, -EIO, "device_hangs", "read the log of the kernel",
                        "device %s gave no sign of life for %.0f seconds",
                        worker_device(local->workers[i]), silence);
            return false;
        }
    }
    return true;
}

static void local_reload(struct executor *executor, const struct config *config) {
    struct local *local = local_of(executor);

    for (int i = 0; i < local->n_workers; i++)
        worker_set_idle(local->workers[i], config->idle_seconds);
}

static void local_stop(struct executor *executor) {
    struct local *local = local_of(executor);

    for (int i = 0; i < local->n_workers; i++)
        worker_stop(local->workers[i]);
}

static int local_join(struct executor *executor, double until) {
    struct local *local = local_of(executor);
    int n_stuck = 0;

    for (int i = 0; i < local->n_workers; i++) {
        double seconds = MAX(until - clock_monotonic(), 0);

        n_stuck += worker_join(local->workers[i], (int)seconds) ? 1 : 0;
    }
    if (!n_stuck)
        return 0;
    log_error("%d of %d workers do not stop", n_stuck, local->n_workers);
    return -ETIMEDOUT;
}

static void local_free(struct executor *executor) {
    struct local *local = local_of(executor);

    for (int i = 0; i < local->n_workers; i++)
        worker_free(local->workers[i]);
    pthread_mutex_destroy(&local->mutex);
    free(local->workers);
    free(local);
}

const struct executor_ops executor_local = {
    .name = "local",
    .open = local_open,
    .start = local_start,
    .poll = local_poll,
    .cancel = local_cancel,
    .describe = local_describe,
    .lives = local_lives,
    .usable = local_usable,
    .idle = local_idle,
    .alive = local_alive,
    .reload = local_reload,
    .stop = local_stop,
    .join = local_join,
    .free = local_free,
};
