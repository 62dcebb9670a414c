// SPDX-License-Identifier: Apache-2.0
#include "daemon/queue/orphans/orphans.h"

#include "base/file.h"
#include "base/str.h"
#include "daemon/files/paths.h"
#include "daemon/queue/folders.h"
#include "daemon/queue/job_json.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const state_names[] = {
    [ORPHAN_FINISHED] = "finished",
    [ORPHAN_DAMAGED] = "damaged",
    [ORPHAN_EVALUATION] = "evaluation",
    [ORPHAN_UNFINISHED] = "unfinished",
};

void orphan_done(struct orphan *orphan) {
    free(orphan->dir);
    finished_done(&orphan->finished);
    params_free(orphan->params);
    *orphan = (struct orphan){};
}

/* -------- one folder -------- */

static int damaged(struct failure *failure, const char *what) {
    return failure_set(failure, -EBADMSG, "folder_damaged",
                       "bring the folder back from a copy, or delete it", "%s", what);
}

/* Is every member of the object @value a number? */
static bool has_numbers(const json_t *value) {
    const char *key;
    json_t *member;

    json_object_foreach((json_t *)value, key, member) {
        if (!json_is_number(member))
            return false;
    }
    return json_is_object(value);
}

static bool has_perplexities(const json_t *value) {
    const char *key;
    json_t *set;

    json_object_foreach((json_t *)value, key, set) {
        if (!json_is_number(json_object_get(set, "value")) ||
            !json_is_string(json_object_get(set, "sha256")))
            return false;
    }
    return json_is_object(value);
}

/* result.json is not in the manifest: it must say what quantd.json says. */
static int check_result(const struct finished *finished, struct failure *failure) {
    const json_t *result = finished->result, *quantd = finished->quantd;
    const json_t *bits = json_object_get(result, "bits_per_weight");

    if (!json_is_string(json_object_get(result, "model_fingerprint")) ||
        !json_equal(json_object_get(result, "model_fingerprint"),
                    json_object_get(quantd, "model_fingerprint")) ||
        !json_equal(json_object_get(result, "perplexity"), json_object_get(quantd, "perplexity")))
        return damaged(failure, "result.json and quantd.json do not say the same");
    if (!has_perplexities(json_object_get(result, "perplexity")) ||
        !has_numbers(json_object_get(result, "seconds")) ||
        !has_numbers(json_object_get(result, "peak_memory")) ||
        !json_is_integer(json_object_get(result, "size_bytes")) ||
        !json_is_integer(json_object_get(result, "seqlen")) ||
        !(json_is_number(bits) || json_is_null(bits)))
        return damaged(failure, "result.json lacks figures, or has others than quantd writes");
    return 0;
}

static int read_params(struct orphan *orphan, struct failure *failure) {
    const json_t *params = json_object_get(orphan->finished.quantd, "params");
    int r = params_parse(JOB_QUANTIZE, params, &orphan->params, failure);

    if (r == -EINVAL)
        return failure_set(failure, -EBADMSG, "folder_damaged",
                           "a newer quantd may have made it: then start that one",
                           "quantd.json has parameters that are not known");
    return r;
}

static bool has(const struct orphan *orphan, const char *name) {
    cleanup(freep) char *path = str_format("%s/%s", orphan->dir, name);
    struct stat st;

    return path && !lstat(path, &st);
}

/* What there is without a checkpoint. */
static void describe_rest(struct orphan *orphan) {
    if (has(orphan, "result.json")) {
        orphan->state = ORPHAN_EVALUATION;
        failure_set(&orphan->why, -EBUSY, "orphan_evaluation",
                    "measure the model again if you need them, then delete the folder",
                    "it holds the figures of an evaluation, and no checkpoint");
    } else {
        orphan->state = ORPHAN_UNFINISHED;
        failure_set(&orphan->why, -EBUSY, "orphan_unfinished",
                    "submit the job again, then delete the folder",
                    "its job did not come to its end, so it has no checkpoint");
    }
}

/* Fills in the rest of @orphan, of which id and dir are known. Return: 0, -ENOENT, -ENOMEM. */
static int look(struct orphan *orphan, struct failure *failure) {
    struct stat st;
    int r;

    if (!lstat(orphan->dir, &st))
        orphan->changed_at = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
    r = finished_measure(orphan->dir, &orphan->bytes, &orphan->why);
    if (!r && !has(orphan, "artifact")) {
        describe_rest(orphan);
        return 0;
    }
    if (!r)
        r = finished_read(orphan->dir, &orphan->finished, &orphan->why);
    if (!r)
        r = read_params(orphan, &orphan->why);
    if (!r)
        r = check_result(&orphan->finished, &orphan->why);
    if (r == -ENOMEM || r == -ENOENT) {
        *failure = orphan->why;
        return r;
    }
    orphan->state = r ? ORPHAN_DAMAGED : ORPHAN_FINISHED;
    return 0;
}

static int not_found(int64_t id, struct failure *failure) {
    return failure_set(failure, -ENOENT, "orphan_not_found",
                       "list them by GET /v1/orphans; a folder whose job is there needs nothing",
                       "no folder '%" PRId64 "' without a job", id);
}

/* Has the folder of number @id a job, or had it one that was deleted? */
static int is_known(struct jobs *jobs, int64_t id, bool *ret_known, struct failure *failure) {
    int r = store_begin(jobs->store, STORE_READ, failure);

    if (r)
        return r;
    r = store_is_known(jobs->store, id, ret_known);
    return store_end(jobs->store, r, failure);
}

int orphan_look(struct jobs *jobs, int64_t id, struct orphan *ret_orphan, struct failure *failure) {
    cleanup(orphan_done) struct orphan orphan = {.id = id};
    bool known;
    int r = is_known(jobs, id, &known, failure);

    if (r || known)
        return r ? r : not_found(id, failure);
    orphan.dir = paths_job(jobs->jobs_dir, id);
    if (!orphan.dir)
        return failure_oom(failure);
    r = look(&orphan, failure);
    if (r)
        return r == -ENOENT ? not_found(id, failure) : r;
    *ret_orphan = orphan;
    orphan = (struct orphan){};
    return 0;
}

json_t *orphan_to_json(const struct orphan *orphan) {
    bool adoptable = orphan->state == ORPHAN_FINISHED;
    const struct failure *why = &orphan->why;
    json_t *params = orphan->params ? params_to_json(orphan->params) : json_null();
    json_t *reason = adoptable ? json_null()
                               : json_pack("{ss ss ss}", "code", why->code, "detail", why->detail,
                                           "hint", why->hint);

    return json_pack("{ss sI ss sb so ss sI so ss? so}", "object", "orphan", "id",
                     (json_int_t)orphan->id, "state", state_names[orphan->state], "adoptable",
                     adoptable, "reason", reason, "path", orphan->dir, "bytes",
                     (json_int_t)orphan->bytes, "changed_at", json_time(orphan->changed_at),
                     "model", orphan->params ? orphan->params->model : NULL, "params", params);
}

/* -------- all of them -------- */

/* The smallest ids of orphans after one, in order. */
struct ids {
    struct jobs *jobs;
    struct failure *failure;
    int64_t after, *at; /* owned */
    int n, max;
};

static int add_id(void *ctx, int64_t id) {
    struct ids *ids = ctx;
    bool known;
    int r, i;

    if (id <= ids->after || (ids->n == ids->max && id >= ids->at[ids->n - 1]))
        return 0;
    r = is_known(ids->jobs, id, &known, ids->failure);
    if (r || known)
        return r;
    if (ids->n < ids->max)
        ids->n++;
    for (i = ids->n - 1; i > 0 && ids->at[i - 1] > id; i--)
        ids->at[i] = ids->at[i - 1];
    ids->at[i] = id;
    return 0;
}

static int describe_all(const struct ids *ids, int limit, json_t *data, struct failure *failure) {
    for (int i = 0; i < ids->n && i < limit; i++) {
        cleanup(orphan_done) struct orphan orphan = {};
        int r = orphan_look(ids->jobs, ids->at[i], &orphan, failure);

        if (r == -ENOENT) /* it has become a job, or was removed */
            continue;
        if (r)
            return r;
        if (json_array_append_new(data, orphan_to_json(&orphan)))
            return failure_oom(failure);
    }
    return 0;
}

int orphans_list(struct jobs *jobs, int64_t after, int limit, json_t **ret_list,
                 struct failure *failure) {
    cleanup(freep) int64_t *at = calloc((size_t)limit + 1, sizeof(*at));
    struct ids ids = {.jobs = jobs, .failure = failure, .after = after, .at = at, .max = limit + 1};
    cleanup(json_decrefp) json_t *data = json_array();
    int r;

    if (!at || !data)
        return failure_oom(failure);
    r = folders_each(jobs, add_id, &ids, failure);
    if (!r)
        r = describe_all(&ids, limit, data, failure);
    if (r)
        return r;
    *ret_list = json_pack("{ss sO sb}", "object", "list", "data", data, "has_more", ids.n > limit);
    return *ret_list ? 0 : failure_oom(failure);
}
