// SPDX-License-Identifier: Apache-2.0
/* All executors of the daemon, asked as one. What each call does is in executor.h. */
#pragma once

#include "daemon/executor/executor.h"

struct executors;

/*
 * executors_open() - make each executor that the configuration wants; what @config points to must
 * outlive them. The caller owns *ret_executors. Main thread. Return: 0 or -errno.
 */
int executors_open(const struct executor_config *config, struct executors **ret_executors,
                   struct failure *failure);

/* executors_start() - after jobs_recover(): they begin to claim jobs. Main thread. 0 or -errno. */
int executors_start(struct executors *executors, struct failure *failure);

/* executors_poll() - there may be a job to claim. Any thread, as all up to executors_stop(). */
void executors_poll(struct executors *executors);

/* executors_cancel() - stop job @id wherever it runs; after jobs_cancel(). */
void executors_cancel(struct executors *executors, int64_t id);

/* executors_describe() - what jobs run on: an array, owned by the caller; NULL: no memory. */
json_t *executors_describe(struct executors *executors);

/* executors_live() - is a run of job @id under way that goes on without this process? */
bool executors_live(struct executors *executors, int64_t id);

/* executors_are_usable() - can any of them run jobs now? */
bool executors_are_usable(struct executors *executors);

/* executors_idle() - does another one than @except wait for work, with a device to run it on? */
bool executors_idle(struct executors *executors, const struct executor *except);

/* executors_are_alive() - false with the failure when one gave no sign of life for @seconds. */
bool executors_are_alive(struct executors *executors, int seconds, struct failure *failure);

/* executors_reload() - the options that can change at run time have changed. */
void executors_reload(struct executors *executors, const struct config *config);

/* executors_stop() - they begin to stop. NULL is fine. */
void executors_stop(struct executors *executors);

/*
 * executors_join() - after executors_stop(): wait @seconds at most for all together. NULL is fine.
 * Main thread. Return: 0; -ETIMEDOUT: threads still run, nothing may be freed.
 */
int executors_join(struct executors *executors, int seconds);

void executors_free(struct executors *executors); /* after executors_join(); NULL is fine */
