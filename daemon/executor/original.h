// SPDX-License-Identifier: Apache-2.0
/*
 * The original of a model that is to be measured: quantd.json in its folder names it, as the job
 * asked for it that made the folder. The folder is a stranger's: its name is looked up as that of
 * any job, among what every user may use. Any thread.
 */
#pragma once

#include "daemon/pipeline/job.h"
#include "daemon/queue/jobs.h"

struct named_original {
    json_t *record;   /* quantd.json; owned, and what is borrowed below is its */
    char *dir, *root; /* owned */
    char why[400];
    struct job_original original;
};

/*
 * original_find() - of the eval job @row, whose model's files are inside @root (NULL: the folder
 * itself). *ret_named is untouched when nothing names one. Return: 0 or -ENOMEM with the failure.
 */
int original_find(struct jobs *jobs, const struct job_row *row, const char *root,
                  struct named_original *ret_named, struct failure *failure);
void original_done(struct named_original *named); /* a zeroed one is fine */
