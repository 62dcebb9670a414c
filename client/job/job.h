// SPDX-License-Identifier: Apache-2.0
/* Facts of a job object, as the daemon sent it. Any thread. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

int64_t job_id(const json_t *job); /* 0: not a job */

/* job_waits_on_cluster() - does it wait on a cluster, to which it was submitted? */
bool job_waits_on_cluster(const json_t *job);

/* job_has_ended() - is its status final? */
bool job_has_ended(const json_t *job);

/* job_exit_status() - the exit status of quantctl for this job, which has ended. */
int job_exit_status(const json_t *job);

/*
 * job_makes_checkpoint() - does a job with @params make a checkpoint? They are a request, or the
 * parameters of a quantize or eval job.
 */
bool job_makes_checkpoint(const json_t *params);

/*
 * job_title() - what the job does: "quantize olmoe-demo to 4 bits by gptq, minmax, groups
 * of 128, act-order"; "export job:7 as dense".
 * Cleaned, owned by the caller; NULL when out of memory.
 */
char *job_title(const json_t *job);

/* job_model() - the model's name, without the folders of a path; cleaned, owned by the caller. */
char *job_model(const json_t *job);
