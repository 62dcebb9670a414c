// SPDX-License-Identifier: Apache-2.0
/*
 * What lies in the folder of a job that was never run: nothing, unless the database is older than
 * the folder, because it was restored from a backup.
 */
#pragma once

#include "base/failure.h"
#include "daemon/queue/jobs.h"

/*
 * leftover_settle() - before the first attempt of the job @row in the folder @dir. A finished
 * checkpoint stays there when it was made with the parameters of the job, for pipeline_run() to
 * return as its result; any other one is moved to DIR.kept or DIR.kept-N. What is not finished is
 * removed. Both cases of a checkpoint are logged. Return: 0 or -errno.
 */
int leftover_settle(const struct job_row *row, const char *dir, struct failure *failure);

/*
 * leftover_make_dir() - the folder of the job @row, ready for a run; the caller owns *ret_dir. On
 * the first attempt what lies there is settled. Return: 0 or -errno with the failure.
 */
int leftover_make_dir(const struct jobs *jobs, const struct job_row *row, char **ret_dir,
                      struct failure *failure);
