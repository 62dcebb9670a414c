// SPDX-License-Identifier: Apache-2.0
/*
 * A look at the cluster for its admin: Slurm's programs, the partition, and a trial job, which
 * shows that jobs-dir is seen by a node, and that quantd-run is there in this version.
 */
#pragma once

#include "daemon/config/config.h"

#include <stdbool.h>

#define TRIAL_SECONDS 180 /* that the trial job may wait and run */

/*
 * slurm_trial() - print each finding as a line to standard output; needs no running daemon, and
 * disturbs none. SIGHUP, SIGINT and SIGTERM end it, are caught from then on, and leave no job and
 * no folder. Main thread. Return: is all well?
 */
bool slurm_trial(const struct config *config);
