// SPDX-License-Identifier: Apache-2.0
/* How jobs come into the queue: one, or several together. */
#include "api/wire.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log/log.h"
#include "base/str.h"
#include "daemon/queue/jobs.h"
#include "daemon/queue/place.h"
#include "daemon/queue/submission.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

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

/* A request that was checked, and the row that it becomes. */
struct candidate {
    struct submission *submission;
    struct place place;
    json_t *params; /* as they are stored */
    bool pull;      /* is there something to fetch first? */
};

struct candidates {
    size_t n;
    struct candidate at[];
};

static void candidates_freep(struct candidates **candidates) {
    for (size_t i = 0; *candidates && i < (*candidates)->n; i++) {
        submission_free((*candidates)->at[i].submission);
        place_done(&(*candidates)->at[i].place);
        json_decref((*candidates)->at[i].params);
    }
    free(*candidates);
}

/* Under hub_hold(). */
static int check(struct jobs *jobs, const struct caller *caller, const json_t *request,
                 struct candidate *candidate, struct failure *failure) {
    int r = submission_parse(request, &candidate->submission, failure);

    if (!r)
        r = quota_check_priority(&jobs->quota, caller, candidate->submission->priority, failure);
    if (!r)
        r = check_where(jobs, candidate->submission->where, failure);
    if (!r)
        r = jobs_check(jobs, caller, candidate->submission, &candidate->place, failure);
    if (r)
        return r;
    candidate->params = params_of(candidate->submission, &candidate->place);
    candidate->pull = !candidate->place.dir[0] ||
                      (jobs->hub && !jobs_files_are_here(jobs, candidate->submission->params,
                                                         candidate->submission->kind));
    return candidate->params ? 0 : failure_oom(failure);
}

/* A failure of job @i says which of several that is. */
static void blame(const struct batch *batch, size_t i, struct failure *failure) {
    const char *label = json_string_value(json_array_get(batch->labels, i));

    if (label)
        failure_of(failure, label);
}

/* The row and its first event; inside a transaction. */
static int insert(struct jobs *jobs, const struct caller *caller, const struct candidate *candidate,
                  int64_t group, int64_t *ret_id, struct failure *failure) {
    const struct submission *submission = candidate->submission;
    const struct place *place = &candidate->place;
    const struct new_job job = {
        .kind = job_kind_name(submission->kind),
        .owner = caller->owner,
        .name = submission->name,
        .model_dir = place->dir,
        .hub_model = place->name.id[0] ? place->name.id : NULL,
        .labels = submission->labels,
        .request = submission->asked,
        .params = candidate->params,
        .priority = submission->priority,
        .pull = candidate->pull,
        .private = submission->private,
        .executor = submission->where,
        .notify = submission->notify,
        .group = group,
        .created_at = clock_wall_ms(),
    };
    cleanup(json_decrefp) json_t *data = json_pack("{si}", "attempt", 1);
    int r =
        data ? check_still_there(jobs, submission->params->model, failure) : failure_oom(failure);

    if (!r)
        r = store_insert_job(jobs->store, &job, ret_id);
    if (!r)
        r = store_append_event(jobs->store, *ret_id, WIRE_EVENT_JOB_QUEUED, job.created_at, data,
                               NULL);
    return r;
}

/* Is there room for one more in the group @id? */
static int check_group(struct jobs *jobs, int64_t id, struct failure *failure) {
    cleanup(json_decrefp) json_t *members = NULL;
    int r = store_list_members(jobs->store, id, &members);

    if (r || json_array_size(members) < JOBS_OF_GROUP_MAX)
        return r;
    return failure_set(
        failure, -EBUSY, "group_full", "delete jobs of the group that are not needed any more",
        "group '%" PRId64 "' has %d jobs, the most that a group may have", id, JOBS_OF_GROUP_MAX);
}

/* The group that the jobs come into; 0: none. */
static int make_group(struct jobs *jobs, const struct batch *batch, int64_t *ret_group,
                      struct failure *failure) {
    cleanup(group_row_freep) struct group_row *row = NULL;
    int r = 0;

    if (batch->group)
        return store_insert_group(jobs->store, batch->group, ret_group);
    if (batch->joins)
        r = store_get_group(jobs->store, batch->joins, &row);
    *ret_group = row ? row->id : 0;
    if (row)
        r = check_group(jobs, row->id, failure);
    return r == -ENOENT ? 0 : r;
}

/* Inside a transaction: all rows, or none. */
static int insert_all(struct jobs *jobs, const struct caller *caller, const char *key,
                      const char *sha256, const struct batch *batch,
                      const struct candidates *candidates, int64_t *ret_id,
                      struct failure *failure) {
    int64_t group = 0, id = 0;
    int r = quota_check(&jobs->quota, jobs->store, caller, candidates->n, failure);

    if (!r)
        r = make_group(jobs, batch, &group, failure);
    for (size_t i = 0; i < candidates->n && !r; i++) {
        r = insert(jobs, caller, &candidates->at[i], group, &id, failure);
        if (r == -EINVAL)
            blame(batch, i, failure);
        if (!r && i == 0)
            *ret_id = id;
    }
    if (!r && key)
        r = store_put_key(jobs->store, caller->owner, key, sha256, *ret_id, clock_wall_ms());
    return r;
}

static int append_all(struct jobs *jobs, const struct caller *caller, const char *key,
                      const char *sha256, const struct batch *batch,
                      const struct candidates *candidates, int64_t *ret_id,
                      struct failure *failure) {
    int r = store_begin(jobs->store, STORE_WRITE, failure);

    if (r)
        return r;
    r = insert_all(jobs, caller, key, sha256, batch, candidates, ret_id, failure);
    return store_end(jobs->store, r, failure);
}

static int check_all(struct jobs *jobs, const struct caller *caller, const struct batch *batch,
                     struct candidates *candidates, struct failure *failure) {
    for (size_t i = 0; i < candidates->n; i++) {
        int r =
            check(jobs, caller, json_array_get(batch->requests, i), &candidates->at[i], failure);

        if (r) {
            blame(batch, i, failure);
            return r;
        }
    }
    return 0;
}

static int add_warnings(const struct candidates *candidates, json_t *warnings) {
    for (size_t i = 0; i < candidates->n; i++)
        if (json_array_append_new(warnings, json_string(candidates->at[i].place.warning)))
            return -ENOMEM;
    return 0;
}

/* Checks the requests and appends them. -EEXIST: @key came in through another thread meanwhile. */
static int submit(struct jobs *jobs, const struct caller *caller, const char *key,
                  const char *sha256, const struct batch *batch, int64_t *ret_id, json_t *warnings,
                  struct failure *failure) {
    size_t n = json_array_size(batch->requests);
    cleanup(candidates_freep) struct candidates *candidates =
        calloc(1, sizeof(*candidates) + n * sizeof(candidates->at[0]));
    int r;

    if (!candidates)
        return failure_oom(failure);
    candidates->n = n;
    /* From here to the rows nothing removes a model: then it is the row that keeps it. */
    if (jobs->hub)
        hub_hold(jobs->hub);
    r = check_all(jobs, caller, batch, candidates, failure);
    if (!r && add_warnings(candidates, warnings))
        r = failure_oom(failure);
    if (!r)
        r = append_all(jobs, caller, key, sha256, batch, candidates, ret_id, failure);
    if (jobs->hub)
        hub_release(jobs->hub);
    for (size_t i = 0; i < n && !r; i++)
        log_record(LOG_INFO, LOG_FIELDS(.job = *ret_id + (int64_t)i, .owner = caller->owner),
                   "job %" PRId64 " of '%s' queued: %s '%s'", *ret_id + (int64_t)i, caller->owner,
                   job_kind_name(candidates->at[i].submission->kind),
                   candidates->at[i].submission->params->model);
    return r;
}

int jobs_submit_batch(struct jobs *jobs, const struct caller *caller, const char *key,
                      const struct batch *batch, int64_t *ret_id, bool *ret_created,
                      json_t *warnings, struct failure *failure) {
    char sha256[SHA256_TEXT_SIZE];
    int64_t id = 0;
    int r = 0;

    if (key && (!key[0] || strlen(key) > JOBS_KEY_MAX))
        return failure_field(failure, "Idempotency-Key", NULL, "must have 1 to %d bytes",
                             JOBS_KEY_MAX);
    if (json_sha256(batch->body, sha256))
        return failure_oom(failure);
    /* Twice at most: the second time the key of the other thread is there. */
    for (int i = 0; i < 2; i++) {
        if (key)
            r = find_key(jobs, caller->owner, key, sha256, &id, failure);
        *ret_created = !r && !id;
        if (r || id)
            break;
        json_array_clear(warnings);
        r = submit(jobs, caller, key, sha256, batch, &id, warnings, failure);
        if (r != -EEXIST || !key)
            break;
    }
    if (r)
        return r;
    if (*ret_created)
        events_wake(jobs->events);
    *ret_id = id;
    return 0;
}

int jobs_submit_to(struct jobs *jobs, const struct caller *caller, const char *key,
                   const json_t *request, int64_t joins, json_t **ret_job, bool *ret_created,
                   struct failure *failure) {
    cleanup(json_decrefp) json_t *requests = json_pack("[O]", request), *warnings = json_array();
    const struct batch batch = {.body = request, .requests = requests, .joins = joins};
    const char *warning;
    int64_t id = 0;
    uint64_t version;
    int r;

    if (!requests || !warnings)
        return failure_oom(failure);
    r = jobs_submit_batch(jobs, caller, key, &batch, &id, ret_created, warnings, failure);
    if (!r)
        r = jobs_object(jobs, caller, id, 0, ret_job, &version, failure);
    warning = json_string_value(json_array_get(warnings, 0));
    if (!r && warning && warning[0] &&
        json_object_set_new(*ret_job, "warning", json_string(warning))) {
        json_decref(*ret_job);
        return failure_oom(failure);
    }
    return r;
}

int jobs_submit(struct jobs *jobs, const struct caller *caller, const char *key,
                const json_t *request, json_t **ret_job, bool *ret_created,
                struct failure *failure) {
    return jobs_submit_to(jobs, caller, key, request, 0, ret_job, ret_created, failure);
}
