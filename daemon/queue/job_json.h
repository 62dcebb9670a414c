// SPDX-License-Identifier: Apache-2.0
/* A job as clients see it: the schema Job of api/openapi.json. Any thread. */
#pragma once

#include "daemon/store/store.h"

/*
 * job_to_json() - the job object; @progress: the newest of a running job, or NULL. Both borrowed.
 * The caller owns it; NULL when out of memory.
 */
json_t *job_to_json(const struct job_row *row, json_t *progress);

/* job_result() - what clients see of a result; NULL for NULL, or when out of memory. */
json_t *job_result(json_t *result);

/* job_pause_to_json() - what clients see of a pause; NULL when out of memory. */
json_t *job_pause_to_json(const struct failure *why);

/* failure_to_json() - the error of a failed job; NULL when out of memory. */
json_t *failure_to_json(const struct failure *failure);
