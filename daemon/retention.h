// SPDX-License-Identifier: Apache-2.0
/*
 * What a daemon that runs for years lets go: Idempotency-Keys after a week, rows of progress a day
 * after their job has ended, kept states above their limit, and, when it is asked to, jobs that
 * ended long ago, with all that is theirs. A thread looks at its start and every hour; it deletes
 * in short transactions, so that other threads hardly wait for the store.
 */
#pragma once

#include "daemon/queue/jobs.h"

#define RETENTION_KEY_DAYS 7
#define RETENTION_PROGRESS_DAYS 1

struct retention;

/*
 * retention_start() - begin with the first look; @jobs is borrowed, @keep_days 0: jobs stay for
 * ever. The caller owns *ret_retention. Return: 0 or -errno with the failure.
 */
int retention_start(struct jobs *jobs, int keep_days, struct retention **ret_retention,
                    struct failure *failure);

/* retention_set_days() - from now on; looks at once. Any thread. */
void retention_set_days(struct retention *retention, int keep_days);

/* retention_stop() - end the thread within a transaction, and free all. NULL is fine. */
void retention_stop(struct retention *retention);

/*
 * retention_sweep() - one look, as of @now (ms since 1970); ends early when *@stop. Any thread but
 * one at a time. Return: how many jobs were deleted, or -errno with the failure.
 */
int retention_sweep(struct jobs *jobs, int keep_days, int64_t now, const atomic_bool *stop,
                    struct failure *failure);
