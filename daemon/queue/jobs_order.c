// SPDX-License-Identifier: Apache-2.0
/* What users change of jobs: the priority, whether they are held, and that they end. */
#include "daemon/queue/jobs.h"

#include "api/wire.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log/log.h"
#include "base/log/messages.h"
#include "base/str.h"
#include "daemon/access/access.h"
#include "daemon/files/paths.h"

#include <errno.h>
#include <inttypes.h>

/* -------- the place in the queue -------- */

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
        return r == -ENOENT ? jobs_not_found(id, failure) : r;
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

/* After the transaction that did it. */
static void ordered(const struct caller *caller, int64_t id, const struct job_order *order) {
    if (order->held)
        log_record(LOG_INFO, LOG_FIELDS(.job = id, .owner = caller->owner), "job %" PRId64 " %s",
                   id, *order->held ? "held" : "released");
    if (order->priority)
        log_record(LOG_INFO, LOG_FIELDS(.job = id, .owner = caller->owner),
                   "job %" PRId64 " has priority %d", id, *order->priority);
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
    ordered(caller, id, order);
    events_wake(jobs->events);
    return 0;
}

/* -------- cancelling -------- */

/* Inside a transaction. *ret_gone: it has ended by this. */
static int cancel(struct jobs *jobs, const struct caller *caller, int64_t id, bool *ret_gone,
                  struct failure *failure) {
    cleanup(job_row_freep) struct job_row *row = NULL;
    cleanup(json_decrefp) json_t *data = json_object();
    struct job_change change = {.at = clock_wall_ms()};
    int r = store_get_job(jobs->store, id, &row);

    if (r == -ENOENT)
        return jobs_not_found(id, failure);
    if (!r)
        r = access_change(caller, row, "cancel", failure);
    if (r)
        return r;
    if (!data)
        return failure_oom(failure);
    if (job_status_ended(row->status))
        return failure_set(failure, -EBUSY, "job_ended", NULL,
                           "cannot cancel job '%" PRId64 "': it has ended, %s", id,
                           job_status_name(row->status));
    if (row->status == JOB_CANCELLING)
        return 0;
    *ret_gone = row->status == JOB_QUEUED;
    change.from = row->status;
    change.to = *ret_gone ? JOB_CANCELLED : JOB_CANCELLING;
    r = store_change_job(jobs->store, id, &change);
    if (r)
        return r;
    return store_append_event(jobs->store, id,
                              *ret_gone ? WIRE_EVENT_JOB_CANCELLED : WIRE_EVENT_JOB_CANCELLING,
                              change.at, data, NULL);
}

/* After the transaction that did it. */
static void cancelled(struct jobs *jobs, int64_t id, bool gone) {
    cleanup(freep) char *dir = paths_job(jobs->jobs_dir, id);

    log_record(LOG_INFO, LOG_FIELDS(gone ? MESSAGE_JOB_ENDED : NULL, .job = id),
               "job %" PRId64 " %s", id, gone ? "cancelled" : "asked to stop");
    if (gone)
        holds_drop(jobs->holds, id);
    /* What an interrupted run left; the next start would remove it else. */
    if (gone && dir && dir_remove(dir))
        log_warning("cannot remove '%s'", dir);
}

int jobs_cancel(struct jobs *jobs, const struct caller *caller, int64_t id,
                struct failure *failure) {
    bool gone = false;
    int r = store_begin(jobs->store, STORE_WRITE, failure);

    if (r)
        return r;
    r = cancel(jobs, caller, id, &gone, failure);
    r = store_end(jobs->store, r, failure);
    if (r)
        return r;
    events_wake(jobs->events);
    cancelled(jobs, id, gone);
    return 0;
}

/* -------- all jobs of a group -------- */

/*
 * Inside a transaction: gives the members of @group that wait the place @order, or, when that is
 * NULL, cancels those that have not ended. *ret_ids gets the members: {"ID": whether it has ended
 * by this}.
 */
static int change_members(struct jobs *jobs, const struct caller *caller, int64_t group,
                          const struct job_order *order, json_t **ret_ids,
                          struct failure *failure) {
    cleanup(json_decrefp) json_t *members = NULL, *ids = json_object();
    json_t *member;
    size_t i;
    int r = ids ? store_list_members(jobs->store, group, &members) : -ENOMEM;

    json_array_foreach(members, i, member) {
        int64_t job = json_integer_value(member);
        bool gone = false;
        char id[24];

        if (r)
            break;
        r = order ? change(jobs, caller, job, order, failure)
                  : cancel(jobs, caller, job, &gone, failure);
        snprintf(id, sizeof(id), "%" PRId64, job);
        if (!r && json_object_set_new(ids, id, json_boolean(gone)))
            r = -ENOMEM;
        r = r == -EBUSY ? 0 : r;
    }
    if (!r)
        *ret_ids = steal_ptr(ids);
    return r == -ENOMEM ? failure_oom(failure) : r;
}

/* None of the members could be changed. */
static int refuse_group(int64_t group, const struct job_order *order, struct failure *failure) {
    if (order)
        return failure_set(failure, -EBUSY, "group_not_queued",
                           "only jobs that wait can be held, released or given another priority",
                           "no job of group '%" PRId64 "' waits", group);
    return failure_set(failure, -EBUSY, "group_ended", NULL,
                       "cannot cancel group '%" PRId64 "': all its jobs have ended", group);
}

static int change_group(struct jobs *jobs, const struct caller *caller, int64_t group,
                        const struct job_order *order, json_t **ret_ids, struct failure *failure) {
    cleanup(json_decrefp) json_t *ids = NULL;
    int r = store_begin(jobs->store, STORE_WRITE, failure);

    if (r)
        return r;
    r = change_members(jobs, caller, group, order, &ids, failure);
    if (!r && json_object_size(ids) == 0)
        r = refuse_group(group, order, failure);
    r = store_end(jobs->store, r, failure);
    if (r)
        return r;
    events_wake(jobs->events);
    *ret_ids = steal_ptr(ids);
    return 0;
}

int jobs_cancel_group(struct jobs *jobs, const struct caller *caller, int64_t group,
                      json_t **ret_ids, struct failure *failure) {
    const char *id;
    json_t *gone;
    int r = change_group(jobs, caller, group, NULL, ret_ids, failure);

    if (r)
        return r;
    json_object_foreach(*ret_ids, id, gone) {
        cancelled(jobs, strtoll(id, NULL, 10), json_is_true(gone));
    }
    return 0;
}

int jobs_order_group(struct jobs *jobs, const struct caller *caller, int64_t group,
                     const struct job_order *order, struct failure *failure) {
    cleanup(json_decrefp) json_t *ids = NULL;
    const char *id;
    json_t *gone;
    int r = change_group(jobs, caller, group, order, &ids, failure);

    json_object_foreach(ids, id, gone) {
        ordered(caller, strtoll(id, NULL, 10), order);
    }
    return r;
}
