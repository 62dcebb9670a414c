// SPDX-License-Identifier: Apache-2.0
/*
 * What a plan has measured, kept from one job to the next in the folder of pipeline_job.states:
 * jobs that differ in their target alone measure the same. A file's name is the hash of its key,
 * which holds all that the figures follow from. What cannot be read, or written, is measured: it
 * never fails a job. The thread of the run.
 */
#pragma once

#include "daemon/pipeline/run.h"

/* kept_find() - write what an earlier job has measured to @path. Return: 0 or -errno. */
int kept_find(struct run *run, const char *path);

/* kept_store() - keep @text, which was measured. Return: 0 or -errno. */
int kept_store(struct run *run, const char *text);
