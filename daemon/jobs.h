// SPDX-License-Identifier: Apache-2.0
/*
 * The queue: jobs come in, are claimed, and end. Every change of status and its event are one
 * transaction. Functions may be called from any thread, outside a transaction; they return 0 or
 * -errno with the failure; the errno means what api/service.h says.
 */
#pragma once

#include "api/service.h"
#include "daemon/events.h"
#include "daemon/models.h"
#include "daemon/store.h"

#define JOBS_QUEUED_MAX 1000
#define JOBS_ATTEMPTS_MAX 3
#define JOBS_KEY_MAX 255 /* bytes of an Idempotency-Key */

/* What the queue works with; all borrowed. */
struct jobs {
    struct store *store;
    struct events *events;
    const struct models *models;
    const char *state_dir;
};

/* -------- what clients ask for (jobs.c) -------- */

/* jobs_submit() - as struct service's submit. */
int jobs_submit(struct jobs *jobs, const char *owner, const char *key, const json_t *request,
                json_t **ret_job, bool *ret_created, struct failure *failure);

/* jobs_object() - as struct service's job; @known 0: always the object. */
int jobs_object(struct jobs *jobs, int64_t id, uint64_t known, json_t **ret_job,
                uint64_t *ret_version, struct failure *failure);

/* jobs_list() - as struct service's jobs. */
int jobs_list(struct jobs *jobs, const struct job_filter *filter, uint64_t known, json_t **ret_list,
              uint64_t *ret_version, struct failure *failure);

/*
 * jobs_cancel() - a queued job ends at once, a running one becomes cancelling: whoever runs it has
 * to be told. -EBUSY when it has ended, -ENOENT.
 */
int jobs_cancel(struct jobs *jobs, int64_t id, struct failure *failure);

/* jobs_find() - the row of job @id, owned by the caller; -ENOENT. */
int jobs_find(struct jobs *jobs, int64_t id, struct job_row **ret_row, struct failure *failure);

/* -------- what becomes of a running job (jobs_run.c) -------- */

/* jobs_claim() - the next job becomes running; -ENOENT without a failure when none waits. */
int jobs_claim(struct jobs *jobs, const char *device, struct job_row **ret_row,
               struct failure *failure);

/* jobs_succeed() - it ends with the pipeline's @result (borrowed); finds its baseline. */
int jobs_succeed(struct jobs *jobs, int64_t id, json_t *result, struct failure *failure);

/* jobs_fail() - it ends, because of @why; its files are removed. */
int jobs_fail(struct jobs *jobs, int64_t id, const struct failure *why, struct failure *failure);

/* jobs_cancelled() - it has stopped because it was cancelled; its files are removed. */
int jobs_cancelled(struct jobs *jobs, int64_t id, struct failure *failure);

/*
 * jobs_interrupt() - it has stopped through no fault of its own: back to the queue, or cancelled
 * when that was asked for. @counts: an attempt is used up, and after the last one it fails.
 */
int jobs_interrupt(struct jobs *jobs, int64_t id, const char *reason, bool counts,
                   struct failure *failure);

/*
 * jobs_recover() - after a start: jobs that ran go back to the queue, files of jobs that failed or
 * were cancelled are removed.
 */
int jobs_recover(struct jobs *jobs, struct failure *failure);
