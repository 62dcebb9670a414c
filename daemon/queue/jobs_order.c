// SPDX-License-Identifier: Apache-2.0
/* The order of waiting jobs, as users change it: their priority, and whether they are held. */
#include "daemon/queue/jobs.h"

#include "api/wire.h"
#include "base/clock.h"
#include "base/log/log.h"
#include "daemon/access/access.h"

#include <errno.h>
#include <inttypes.h>

static int check_order(struct jobs *jobs, const struct caller *caller, const struct job_row *row,
                       const struct job_order *order, struct failure *failure) {
    int r = access_change(caller, row, "reorder", failure);

    if (!r && row->status != JOB_QUEUED)
        r = failure_set(failure, -EBUSY, "job_not_queued",
                        "only jobs that wait can be held, released or given another priority",
                        "job '%" PRId64 "' does not wait: it is %s", row->id,
                        job_status_name(row->status));
    if (!r && order->priority && *order->priority > row->priority)
        r = quota_check_priority(&jobs->quota, caller, *order->priority, failure);
    return r;
}

/* Inside a transaction. */
static int change(struct jobs *jobs, const struct caller *caller, int64_t id,
                  const struct job_order *order, struct failure *failure) {
    cleanup(job_row_freep) struct job_row *row = NULL;
    cleanup(json_decrefp) json_t *data = NULL;
    int priority, r = store_get_job(jobs->store, id, &row);
    bool held;

    if (r)
        return r == -ENOENT
                   ? failure_set(failure, r, "job_not_found", "list the jobs to see their ids",
                                 "no job '%" PRId64 "'", id)
                   : r;
    r = check_order(jobs, caller, row, order, failure);
    if (r)
        return r;
    priority = order->priority ? *order->priority : row->priority;
    held = order->held ? *order->held : row->held;
    if (priority == row->priority && held == row->held)
        return 0;
    data = json_pack("{si sb}", "priority", priority, "held", held);
    if (!data)
        return failure_oom(failure);
    r = store_order_job(jobs->store, id, priority, held);
    if (!r)
        r = store_append_event(jobs->store, id, WIRE_EVENT_JOB_REORDERED, clock_wall_ms(), data,
                               NULL);
    return r;
}

int jobs_order(struct jobs *jobs, const struct caller *caller, int64_t id,
               const struct job_order *order, struct failure *failure) {
    int r = store_begin(jobs->store, STORE_WRITE, failure);

    if (r)
        return r;
    r = change(jobs, caller, id, order, failure);
    r = store_end(jobs->store, r, failure);
    if (r)
        return r;
    if (order->held)
        log_record(LOG_INFO, LOG_FIELDS(.job = id, .owner = caller->owner), "job %" PRId64 " %s",
                   id, *order->held ? "held" : "released");
    if (order->priority)
        log_record(LOG_INFO, LOG_FIELDS(.job = id, .owner = caller->owner),
                   "job %" PRId64 " has priority %d", id, *order->priority);
    events_wake(jobs->events);
    return 0;
}
