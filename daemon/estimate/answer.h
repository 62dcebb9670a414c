// SPDX-License-Identifier: Apache-2.0
/*
 * The answers to POST /v1/estimate and POST /v1/groups/estimate: a request is checked as a
 * submission is, and answered by what the job would take. It uses the queue, the store and the
 * pipeline's estimate.
 */
#pragma once

#include "daemon/pipeline/estimate/counts.h"
#include "daemon/queue/jobs.h"

/*
 * estimate_answer() - as struct service's estimate. @devices: what executors_describe() gives;
 * borrowed, as all pointers. Any thread.
 */
int estimate_answer(struct jobs *jobs, struct counts *counts, const json_t *devices,
                    const struct caller *caller, const json_t *request, json_t **ret_estimate,
                    struct failure *failure);

/* estimate_group_answer() - as struct service's estimate_group; the rest as above. */
int estimate_group_answer(struct jobs *jobs, struct counts *counts, const json_t *devices,
                          const struct caller *caller, const json_t *body, json_t **ret_estimate,
                          struct failure *failure);
