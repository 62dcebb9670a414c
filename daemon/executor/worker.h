// SPDX-License-Identifier: Apache-2.0
/*
 * One thread per device: it claims jobs and runs them one after the other. The backend is open
 * only while there is work and a while after, so an idle daemon holds no device memory. While the
 * device cannot be opened nothing is claimed, and it is tried again, less and less often.
 *
 * Only the thread queries the device. What it saw last is kept: worker_describe() copies it, and
 * waits neither for a device nor for the store.
 */
#pragma once

#include "daemon/data/corpus.h"
#include "daemon/queue/jobs.h"

/* Seconds until a device that cannot be opened is tried again: doubled from first to max. */
#define WORKER_RETRY_FIRST 1
#define WORKER_RETRY_MAX 60

struct worker;

struct worker_config {
    const char *device; /* "auto", "cpu", "cuda:N" */
    int idle_seconds;   /* until an idle backend is closed */
    struct jobs *jobs;  /* all borrowed */
    const struct corpora *corpora;
    void (*device_failed)(void *ctx); /* only a new process can use the device; worker's thread */
    /*
     * The name of a device with more than @memory bytes, rather one that can be used; NULL: there
     * is none. Borrowed as long as the worker runs. Worker's thread; NULL: there is no other.
     */
    const char *(*larger)(void *ctx, size_t memory, bool *ret_usable);
    void (*left)(void *ctx); /* a run is over: its job may be another's. Worker's thread; or NULL */
    void *ctx;
};

/*
 * worker_start() - open the device once, to know it is there, then start the thread. One that is
 * there but cannot be opened now is tried again later. The caller owns *ret_worker.
 * Return: 0; -EINVAL, -ENODEV: there is no such device; or -errno, with the failure.
 */
int worker_start(const struct worker_config *config, struct worker **ret_worker,
                 struct failure *failure);

/* worker_device() - what it is called: "cpu", "cuda:0". Any thread. */
const char *worker_device(const struct worker *worker);

/* worker_set_idle() - another idle_seconds, from the next time it is idle. Any thread. */
void worker_set_idle(struct worker *worker, int seconds);

/* worker_wake() - there may be a job to claim. Never waits for device or store. Any thread. */
void worker_wake(struct worker *worker);

/* worker_cancel() - stop job @id if it runs here. Any thread. */
void worker_cancel(struct worker *worker, int64_t id);

/*
 * worker_describe() - {id, kind, name, library, memory_total, memory_free, utilization, job,
 * error}, as last seen, some seconds ago at most while the device is open; NULL: no memory. Any
 * thread.
 */
json_t *worker_describe(struct worker *worker);

/* worker_memory() - the memory of its device as last seen, in bytes. Any thread. */
size_t worker_memory(struct worker *worker);

/* worker_is_usable() - could the device be opened when it was last tried, and is it sound? Any. */
bool worker_is_usable(struct worker *worker);

/* worker_is_idle() - is its device usable, and without a job? Any thread. */
bool worker_is_idle(struct worker *worker);

/*
 * worker_silence() - seconds since the worker gave a sign of life; 0 while it waits for work. Locks
 * nothing: it answers when the device hangs. Any thread.
 */
double worker_silence(struct worker *worker);

/* worker_stop() - begin to stop: a running job goes back to the queue. Any thread. */
void worker_stop(struct worker *worker);

/*
 * worker_join() - after worker_stop(): wait at most @seconds for the thread to end. Return: 0, or
 * -ETIMEDOUT: it still runs.
 */
int worker_join(struct worker *worker, int seconds);

/* worker_free() - after worker_join(); no thread may use the worker any more. NULL is fine. */
void worker_free(struct worker *worker);
