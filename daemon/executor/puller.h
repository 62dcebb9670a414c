// SPDX-License-Identifier: Apache-2.0
/*
 * One thread that fetches what waiting jobs need, in the order of the queue, while devices
 * compute. A job can be claimed once its files are here; one that lacked none never waits. One for
 * whose files the disk has no room is paused and passed by, and tried again from time to time. A
 * pull that is slow, or gets no answer, lets others go first; what came of it stays.
 */
#pragma once

#include "daemon/queue/jobs.h"

struct puller;

struct puller_config {
    struct jobs *jobs;         /* borrowed; with a hub */
    void (*pulled)(void *ctx); /* a job can be claimed; puller's thread */
    void *ctx;
    int room_seconds;    /* between tries of jobs that are paused */
    double slow_seconds; /* how long a pull may be slow while others wait; 0: 15 */
    double slow_rate;    /* bytes a second; 0: 65536 */
};

/* puller_start() - the caller owns *ret_puller. Return: 0 or -errno with the failure. */
int puller_start(const struct puller_config *config, struct puller **ret_puller,
                 struct failure *failure);

/* puller_wake() - there may be a job whose files are missing. Any thread. */
void puller_wake(struct puller *puller);

/* puller_cancel() - stop fetching for job @id, which has ended. Any thread. */
void puller_cancel(struct puller *puller, int64_t id);

/* puller_stop() - stop, and wait for the thread. What came stays. NULL is fine. */
void puller_stop(struct puller *puller);

/* puller_free() - when it has stopped and no thread wakes it any more. NULL is fine. */
void puller_free(struct puller *puller);
