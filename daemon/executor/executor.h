// SPDX-License-Identifier: Apache-2.0
/*
 * An executor runs jobs somewhere: the devices of this machine (local.c), a cluster. It claims
 * what it can run from the queue (daemon/queue/jobs.h), gives what its runs report to the event
 * sink (sink.h), and there each run ends. Several may share one queue.
 *
 * The table in executors.c has a row for each; the rest of the daemon knows executors.h alone.
 *
 * Everything but start(), join() and free() may be called from any thread, by requests too, and
 * so waits for no device, no other machine and no transaction of the store.
 */
#pragma once

#include "daemon/config/config.h"
#include "daemon/data/corpus.h"
#include "daemon/queue/jobs.h"

struct executor; /* the first member of what an executor keeps of its own */

struct executor_config {
    const struct config *config; /* all borrowed; of which an executor reads its own options */
    struct jobs *jobs;
    const struct corpora *corpora;
    void (*failed)(void *ctx); /* only a new process can go on with its work; any thread */
    /* Could another executor than this one start a job now? Any thread. */
    bool (*others_idle)(void *ctx, const struct executor *executor);
    void *ctx;
};

/* Every member is mandatory. 0 or -errno. */
struct executor_ops {
    const char *name; /* "local" */

    /*
     * Makes it, without running anything yet: whether runs of an earlier process live can be
     * asked from then on. *ret_executor stays NULL when @config wants none of this kind.
     */
    int (*open)(const struct executor_config *config, struct executor **ret_executor,
                struct failure *failure);

    /* Begins to claim and to run jobs, in threads of its own. Main thread, once. */
    int (*start)(struct executor *executor, struct failure *failure);

    /* There may be a job to claim, or news of one that runs: look soon. */
    void (*poll)(struct executor *executor);

    /* Stops job @id when it runs here; its row is JOB_CANCELLING by now. */
    void (*cancel)(struct executor *executor, int64_t id);

    /* Appends what jobs run on, objects of GET /v1/devices, as last seen. -ENOMEM. */
    int (*describe)(struct executor *executor, json_t *devices);

    /* Is a run of job @id under way that goes on without this process? */
    bool (*lives)(struct executor *executor, int64_t id);

    /* Can it run jobs now? */
    bool (*usable)(struct executor *executor);

    /* Does it wait for work, with a device to run it on? */
    bool (*idle)(struct executor *executor);

    /* False with the failure when a thread of it gave no sign of life for @seconds. */
    bool (*alive)(struct executor *executor, int seconds, struct failure *failure);

    /* The options that can change at run time have changed. */
    void (*reload)(struct executor *executor, const struct config *config);

    /* Begins to stop: runs that cannot live without this process go back to the queue. */
    void (*stop)(struct executor *executor);

    /* After stop(): waits until @until (monotonic) at most. -ETIMEDOUT: a thread still runs. */
    int (*join)(struct executor *executor, double until);

    /* After join(), or when start() was not called or failed. */
    void (*free)(struct executor *executor);
};

struct executor {
    const struct executor_ops *ops;
};

extern const struct executor_ops executor_local; /* the devices of this machine */
extern const struct executor_ops executor_slurm; /* a cluster */
