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
#include "daemon/files/paths.h"
#include "daemon/queue/job_json.h"
#include "daemon/queue/place.h"
#include "daemon/queue/submission.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static int no_such_job(int64_t id, struct failure *failure) {
    return failure_set(failure, -ENOENT, "job_not_found", "list the jobs to see their ids",
                       "no job '%" PRId64 "'", id);
}

int jobs_find(struct jobs *jobs, int64_t id, struct job_row **ret_row, struct failure *failure) {
    int r = store_begin(jobs->store, STORE_READ, failure);

    if (r)
        return r;
    r = store_get_job(jobs->store, id, ret_row);
    if (r == -ENOENT)
        no_such_job(id, failure);
    return store_end(jobs->store, r, failure);
}

int jobs_see(struct jobs *jobs, const struct caller *caller, int64_t id,
             struct cached_job **ret_cached, struct failure *failure) {
    cleanup(cached_job_freep) struct cached_job *cached = NULL;
    struct cached_state now;
    int r = job_cache_find(jobs->cache, id, &now, failure);

    if (r)
        return r == -ENOENT ? no_such_job(id, failure) : r;
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

int jobs_object(struct jobs *jobs, const struct caller *caller, int64_t id, uint64_t known,
                json_t **ret_job, uint64_t *ret_version, struct failure *failure) {
    cleanup(json_decrefp) json_t *progress = NULL;
    cleanup(cached_job_freep) struct cached_job *cached = NULL;
    struct cached_state now;
    uint64_t version;
    json_t *job = NULL;
    int r;

    r = job_cache_find(jobs->cache, id, &now, failure);
    if (r)
        return r == -ENOENT ? no_such_job(id, failure) : r;
    cached = now.job;
    r = access_see(caller, cached->row, failure);
    if (r)
        return r;
    progress = current_progress(jobs, cached->row, &version);
    version = object_version(&now, version);
    if (!known || known != version) {
        job = show(&now, progress);
        if (!job)
            return failure_oom(failure);
    }
    *ret_job = job;
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

/* -------- submitting -------- */

/* The job that @key already stands for, 0 when it is new; another request: -EINVAL. */
static int find_key(struct jobs *jobs, const char *owner, const char *key, const char *sha256,
                    int64_t *ret_id, struct failure *failure) {
    char stored[SHA256_TEXT_SIZE];
    int64_t id = 0;
    int r = store_begin(jobs->store, STORE_READ, failure);

    if (r)
        return r;
    r = store_find_key(jobs->store, owner, key, stored, &id);
    r = store_end(jobs->store, r == -ENOENT ? 0 : r, failure);
    if (r)
        return r;
    if (id && !str_equal(stored, sha256))
        return failure_set(failure, -EINVAL, "idempotency_key_reused",
                           "use a new key for a new request",
                           "the Idempotency-Key was used for another request, job %" PRId64, id);
    *ret_id = id;
    return 0;
}

static int hash_request(const json_t *request, char ret_sha256[SHA256_TEXT_SIZE]) {
    cleanup(freep) char *text = json_text(request, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);

    return text ? sha256_of(text, strlen(text), ret_sha256) : -ENOMEM;
}

/* The row and its first event; inside a transaction. */
static int insert(struct jobs *jobs, const struct caller *caller, const struct new_job *job,
                  const char *key, const char *sha256, int64_t *ret_id, struct failure *failure) {
    cleanup(json_decrefp) json_t *data = json_pack("{si}", "attempt", 1);
    int64_t id;
    int r;

    if (!data)
        return failure_oom(failure);
    r = quota_check(&jobs->quota, jobs->store, caller, failure);
    if (!r)
        r = store_insert_job(jobs->store, job, &id);
    if (!r && key)
        r = store_put_key(jobs->store, job->owner, key, sha256, id, job->created_at);
    if (!r)
        r = store_append_event(jobs->store, id, WIRE_EVENT_JOB_QUEUED, job->created_at, data, NULL);
    if (!r)
        *ret_id = id;
    return r;
}

/* The parameters as they are stored: with defaults, and the commit of a model of the hub. */
static json_t *params_of(const struct submission *submission, const struct place *place) {
    cleanup(json_decrefp) json_t *params = params_to_json(submission->params);

    if (!params || (place->commit[0] &&
                    json_object_set_new(params, "model_commit", json_string(place->commit))))
        return NULL;
    return steal_ptr(params);
}

/* Inside a transaction: the checkpoint that the job was to read may have been deleted meanwhile. */
static int check_still_there(struct jobs *jobs, const char *model, struct failure *failure) {
    cleanup(job_row_freep) struct job_row *row = NULL;
    int64_t id;
    int r = models_job_reference(model, &id) ? store_get_job(jobs->store, id, &row) : 0;

    if (r != -ENOENT)
        return r;
    failure_field(failure, "model", "name a quantize job that succeeded",
                  "'%s': there is no such job", model);
    snprintf(failure->code, sizeof(failure->code), "model_not_found");
    return -EINVAL;
}

/* An executor that the job asks for has to be there. */
static int check_where(const struct jobs *jobs, const char *where, struct failure *failure) {
    if (!where ||
        (str_equal(where, JOBS_LOCAL) ? !jobs->no_devices : str_equal(where, jobs->cluster)))
        return 0;
    return failure_field(failure, "where", "leave it out: quantd runs the job where it can",
                         str_equal(where, JOBS_LOCAL)
                             ? "'%s': quantd uses no device of its own machine"
                             : "'%s': quantd runs no jobs on a cluster",
                         where);
}

/* Stores a submission that was checked, and whose model is at @place. */
static int append(struct jobs *jobs, const struct caller *caller, const char *key,
                  const char *sha256, const struct submission *submission,
                  const struct place *place, int64_t *ret_id, struct failure *failure) {
    cleanup(json_decrefp) json_t *params = params_of(submission, place);
    const struct new_job job = {
        .kind = job_kind_name(submission->kind),
        .owner = caller->owner,
        .name = submission->name,
        .model_dir = place->dir,
        .hub_model = place->name.id[0] ? place->name.id : NULL,
        .labels = submission->labels,
        .request = submission->asked,
        .params = params,
        .priority = submission->priority,
        .pull = !place->dir[0] ||
                (jobs->hub && !jobs_files_are_here(jobs, submission->params, submission->kind)),
        .private = submission->private,
        .executor = submission->where,
        .notify = submission->notify,
        .created_at = clock_wall_ms(),
    };
    int r;

    if (!params)
        return failure_oom(failure);
    r = store_begin(jobs->store, STORE_WRITE, failure);
    if (r)
        return r;
    r = check_still_there(jobs, submission->params->model, failure);
    if (!r)
        r = insert(jobs, caller, &job, key, sha256, ret_id, failure);
    return store_end(jobs->store, r, failure);
}

/* Checks the request and appends it. -EEXIST: @key came in through another thread meanwhile. */
static int submit(struct jobs *jobs, const struct caller *caller, const char *key,
                  const char *sha256, const json_t *json, int64_t *ret_id,
                  char ret_warning[CHECK_WARNING_SIZE], struct failure *failure) {
    cleanup(submission_freep) struct submission *submission = NULL;
    cleanup(place_done) struct place place = {};
    int r;

    r = submission_parse(json, &submission, failure);
    if (!r)
        r = quota_check_priority(&jobs->quota, caller, submission->priority, failure);
    if (!r)
        r = check_where(jobs, submission->where, failure);
    if (r)
        return r;
    /* From here to the row nothing removes the model: then it is the row that keeps it. */
    if (jobs->hub)
        hub_hold(jobs->hub);
    r = jobs_check(jobs, caller, submission, &place, failure);
    if (!r)
        snprintf(ret_warning, CHECK_WARNING_SIZE, "%s", place.warning);
    if (!r)
        r = append(jobs, caller, key, sha256, submission, &place, ret_id, failure);
    if (jobs->hub)
        hub_release(jobs->hub);
    if (!r)
        log_record(LOG_INFO, LOG_FIELDS(.job = *ret_id, .owner = caller->owner),
                   "job %" PRId64 " of '%s' queued: %s '%s'", *ret_id, caller->owner,
                   job_kind_name(submission->kind), submission->params->model);
    return r;
}

int jobs_submit(struct jobs *jobs, const struct caller *caller, const char *key,
                const json_t *request, json_t **ret_job, bool *ret_created,
                struct failure *failure) {
    char sha256[SHA256_TEXT_SIZE], warning[CHECK_WARNING_SIZE] = "";
    int64_t id = 0;
    uint64_t version;
    int r = 0;

    if (key && (!key[0] || strlen(key) > JOBS_KEY_MAX))
        return failure_field(failure, "Idempotency-Key", NULL, "must have 1 to %d bytes",
                             JOBS_KEY_MAX);
    if (hash_request(request, sha256))
        return failure_oom(failure);
    /* Twice at most: the second time the key of the other thread is there. */
    for (int i = 0; i < 2; i++) {
        if (key)
            r = find_key(jobs, caller->owner, key, sha256, &id, failure);
        *ret_created = !r && !id;
        if (r || id)
            break;
        r = submit(jobs, caller, key, sha256, request, &id, warning, failure);
        if (r != -EEXIST || !key)
            break;
    }
    if (r)
        return r;
    if (*ret_created)
        events_wake(jobs->events);
    r = jobs_object(jobs, caller, id, 0, ret_job, &version, failure);
    if (!r && warning[0] && json_object_set_new(*ret_job, "warning", json_string(warning))) {
        json_decref(*ret_job);
        return failure_oom(failure);
    }
    return r;
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
        return no_such_job(id, failure);
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

int jobs_cancel(struct jobs *jobs, const struct caller *caller, int64_t id,
                struct failure *failure) {
    cleanup(freep) char *dir = paths_job(jobs->jobs_dir, id);
    bool gone = false;
    int r = store_begin(jobs->store, STORE_WRITE, failure);

    if (r)
        return r;
    r = cancel(jobs, caller, id, &gone, failure);
    r = store_end(jobs->store, r, failure);
    if (r)
        return r;
    log_record(LOG_INFO, LOG_FIELDS(gone ? MESSAGE_JOB_ENDED : NULL, .job = id),
               "job %" PRId64 " %s", id, gone ? "cancelled" : "asked to stop");
    events_wake(jobs->events);
    if (gone)
        holds_drop(jobs->holds, id);
    /* What an interrupted run left; the next start would remove it else. */
    if (gone && dir && dir_remove(dir))
        log_warning("cannot remove '%s'", dir);
    return 0;
}
