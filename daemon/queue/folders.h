// SPDX-License-Identifier: Apache-2.0
/*
 * The folders of jobs against their rows. A folder without a row is an orphan: the database was
 * lost, or is older than the folder. It is never removed, and no new job gets its number.
 */
#pragma once

#include "daemon/queue/jobs.h"

/*
 * folders_clean() - at a start: removes what jobs that failed, were cancelled or deleted have left,
 * keeps new jobs away from the numbers of all folders, and logs the orphans. Return: 0 or -errno.
 */
int folders_clean(struct jobs *jobs, struct failure *failure);

/*
 * folders_each() - call @each with every number that a folder of a job has, in no order; one that
 * returns not 0 ends it with that. Return: 0 or -errno.
 */
int folders_each(struct jobs *jobs, int (*each)(void *ctx, int64_t id), void *ctx,
                 struct failure *failure);
