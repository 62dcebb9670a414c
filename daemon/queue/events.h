// SPDX-License-Identifier: Apache-2.0
/*
 * Events of jobs: what the worker reports goes to the store, then the subscriber is woken and reads
 * the rows. The row is the truth, so a slow reader costs the worker nothing.
 *
 * Progress is the exception: the newest one of each running job is kept in memory for the job
 * object, and becomes a row about once a second. Everything else is a row at once.
 */
#pragma once

#include "base/cleanup.h"
#include "daemon/store/runs.h"
#include "daemon/store/store.h"

struct events;

/* events_new() - the events of @store (borrowed); owned by the caller; NULL when out of memory. */
struct events *events_new(struct store *store);
void events_free(struct events *events); /* NULL is fine */
DEFINE_CLEANUP(struct events *, events_freep, events_free)

/*
 * events_subscribe() - @wake is called after events were stored or progress changed, from any
 * thread; it must not block nor call these functions. NULL ends it: no call is running on return.
 */
void events_subscribe(struct events *events, void (*wake)(void *ctx), void *ctx);

/* events_wake() - call the subscriber: another module's transaction stored events. */
void events_wake(struct events *events);

/*
 * events_append() - store one event in a transaction of its own and wake; of a running job it is
 * a sign of life. Any thread, outside a
 * transaction. Return: 0 or -errno with the failure.
 */
int events_append(struct events *events, int64_t job_id, const char *type, const json_t *data,
                  struct failure *failure);

/*
 * events_progress() - a progress event of a running job: wakes at most four times a second, stores
 * a row of @type at most once a second, the rest is merged into the next. @whole: @data is the
 * progress of the job object. Any thread, outside a transaction.
 */
int events_progress(struct events *events, int64_t job_id, const char *type, json_t *data,
                    bool whole, struct failure *failure);

/*
 * events_append_marked(), events_progress_marked() - the same for a run whose events are read from
 * a file: how far they were read is stored in the same transaction, if there is one. @mark NULL: it
 * has none.
 */
int events_append_marked(struct events *events, int64_t job_id, const char *type,
                         const json_t *data, const struct run_mark *mark, struct failure *failure);
int events_progress_marked(struct events *events, int64_t job_id, const char *type, json_t *data,
                           bool whole, const struct run_mark *mark, struct failure *failure);

/*
 * events_current() - the newest progress of a running job (a copy, owned by the caller), or NULL,
 * and the version of the change that brought it, or 0. Any thread.
 */
json_t *events_current(struct events *events, int64_t job_id, uint64_t *ret_version);

/* events_version() - that version alone. Any thread. */
uint64_t events_version(struct events *events, int64_t job_id);

/* events_forget() - the job no longer runs. Any thread. */
void events_forget(struct events *events, int64_t job_id);
