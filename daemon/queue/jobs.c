// SPDX-License-Identifier: Apache-2.0
#include "daemon/queue/jobs.h"

#include "api/wire.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log/log.h"
#include "base/log/messages.h"
#include "base/macros.h"
#include "base/str.h"
#include "daemon/access/access.h"
#include "daemon/access/target.h"
#include "daemon/files/paths.h"
#include "daemon/queue/job_json.h"
#include "daemon/queue/place.h"
#include "daemon/queue/submission.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

int jobs_not_found(int64_t id, struct failure *failure) {
    return failure_set(failure, -ENOENT, "job_not_found", "list the jobs to see their ids",
                       "no job '%" PRId64 "'", id);
}

int jobs_find(struct jobs *jobs, int64_t id, struct job_row **ret_row, struct failure *failure) {
    int r = store_begin(jobs->store, STORE_READ, failure);

    if (r)
        return r;
    r = store_get_job(jobs->store, id, ret_row);
    if (r == -ENOENT)
        jobs_not_found(id, failure);
    return store_end(jobs->store, r, failure);
}

int jobs_see(struct jobs *jobs, const struct caller *caller, int64_t id,
             struct cached_job **ret_cached, struct failure *failure) {
    cleanup(cached_job_freep) struct cached_job *cached = NULL;
    struct cached_state now;
    int r = job_cache_find(jobs->cache, id, &now, failure);

    if (r)
        return r == -ENOENT ? jobs_not_found(id, failure) : r;
    cached = now.job;
    r = access_see(caller, cached->row, failure);
    if (!r)
        *ret_cached = steal_ptr(cached);
    return r;
}

/* -------- reading -------- */

/* The version of the object: ended jobs stand still, queued ones move with the queue. */
static uint64_t object_version(const struct cached_state *now, uint64_t progress) {
    const struct job_row *row = now->job->row;

    if (job_status_ended(row->status))
        return row->version;
    if (row->status == JOB_QUEUED)
        progress = MAX(progress, now->queue_version);
    return MAX(row->version, progress);
}

/* Has the job progress that is newer than its row? */
static bool progresses(const struct job_row *row) {
    return row->status == JOB_RUNNING || row->status == JOB_CANCELLING || row->pull;
}

static json_t *current_progress(struct jobs *jobs, const struct job_row *row,
                                uint64_t *ret_version) {
    *ret_version = 0;
    return progresses(row) ? events_current(jobs->events, row->id, ret_version) : NULL;
}

/* The object of now, which shares nothing: only the cached itself is for all threads. */
static json_t *show(const struct cached_state *now, json_t *progress) {
    cleanup(json_decrefp) json_t *object = json_clone(now->job->object);

    if (!object ||
        (now->position &&
         json_object_set_new(object, "queue_position", json_integer(now->position))) ||
        (progress && json_object_set(object, "progress", progress)))
        return NULL;
    return steal_ptr(object);
}

/* Where the end of the job is reported to, for those who may change it. */
static int show_notify(const struct caller *caller, const struct job_row *row, json_t *job) {
    cleanup(freep) char *shown = NULL;

    if (!row->notify || access_change(caller, row, "see", NULL))
        return 0;
    shown = target_shown(row->notify);
    return shown ? json_object_set_new(job, "notify", json_string(shown)) : -ENOMEM;
}

int jobs_object(struct jobs *jobs, const struct caller *caller, int64_t id, uint64_t known,
                json_t **ret_job, uint64_t *ret_version, struct failure *failure) {
    cleanup(json_decrefp) json_t *progress = NULL;
    cleanup(cached_job_freep) struct cached_job *cached = NULL;
    struct cached_state now;
    cleanup(json_decrefp) json_t *job = NULL;
    uint64_t version;
    int r;

    r = job_cache_find(jobs->cache, id, &now, failure);
    if (r)
        return r == -ENOENT ? jobs_not_found(id, failure) : r;
    cached = now.job;
    r = access_see(caller, cached->row, failure);
    if (r)
        return r;
    progress = current_progress(jobs, cached->row, &version);
    version = object_version(&now, version);
    if (!known || known != version) {
        job = show(&now, progress);
        if (!job || show_notify(caller, cached->row, job))
            return failure_oom(failure);
    }
    *ret_job = steal_ptr(job);
    *ret_version = version;
    return 0;
}

/* The newest version of what @list shows. */
static uint64_t list_version(struct jobs *jobs, const struct cached_list *list) {
    uint64_t version = list->version;

    for (int i = 0; i < list->n; i++) {
        const struct job_row *row = list->at[i].job->row;

        if (progresses(row))
            version = MAX(version, events_version(jobs->events, row->id));
    }
    return version;
}

static json_t *show_list(struct jobs *jobs, const struct cached_list *list) {
    cleanup(json_decrefp) json_t *data = json_array();

    for (int i = 0; i < list->n; i++) {
        const struct cached_state *now = &list->at[i];
        cleanup(json_decrefp) json_t *progress = NULL;
        uint64_t version;

        progress = current_progress(jobs, now->job->row, &version);
        if (json_array_append_new(data, show(now, progress)))
            return NULL;
    }
    return json_pack("{ss sO sb}", "object", "list", "data", data, "has_more", list->has_more);
}

int jobs_list(struct jobs *jobs, const struct caller *caller, const struct job_filter *filter,
              uint64_t known, json_t **ret_list, uint64_t *ret_version, struct failure *failure) {
    cleanup(cached_list_freep) struct cached_list *list = NULL;
    struct store_filter rows = {.status = filter->status,
                                .owner = filter->owner,
                                .kind = filter->kind,
                                .text = filter->text,
                                .label = filter->label,
                                .method = filter->method,
                                .sort = filter->sort,
                                .wbits = filter->wbits,
                                .perplexity_min = filter->perplexity_min,
                                .perplexity_max = filter->perplexity_max,
                                .viewer = access_viewer(caller),
                                .after = filter->after,
                                .group = filter->group,
                                .limit = filter->limit};
    uint64_t version;
    json_t *shown = NULL;
    int r;

    r = job_cache_list(jobs->cache, &rows, &list, failure);
    if (r == -ENOENT) {
        failure_field(failure, "after", "ask for the first page again",
                      "a sorted list cannot go on after job %" PRId64 ", which is not there",
                      filter->after);
        return -EINVAL;
    }
    if (r)
        return r;
    /* Before the progress that is shown: a change in between is then seen again, not missed. */
    version = list_version(jobs, list);
    if (!known || known != version) {
        shown = show_list(jobs, list);
        if (!shown)
            return failure_oom(failure);
    }
    *ret_list = shown;
    *ret_version = version;
    return 0;
}
