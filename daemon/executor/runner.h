// SPDX-License-Identifier: Apache-2.0
/* Runs one job: the pipeline on one side, the store and the event hub on the other. */
#pragma once

#include "daemon/data/corpus.h"
#include "daemon/queue/jobs.h"
#include "kernels/backend.h"

#include <stdatomic.h>

/* All borrowed; used by the thread of one device. */
struct runner {
    struct jobs *jobs;
    const struct corpora *corpora;
    atomic_bool *cancel;      /* the job shall end */
    atomic_bool *stop;        /* the daemon shall end: the job goes back to the queue */
    void (*alive)(void *ctx); /* called at every sign of life, some times a second */
    void *ctx;
};

/*
 * runner_run() - run @row, which was claimed, on @backend, until its end is recorded. Blocks as
 * long as that takes; a store that cannot record the end is asked again until @stop.
 * Return: true when the device can be used by a new process only.
 */
bool runner_run(struct runner *runner, const struct job_row *row, struct backend *backend);
