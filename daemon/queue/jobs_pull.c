// SPDX-License-Identifier: Apache-2.0
#include "daemon/queue/jobs.h"

#include "api/wire.h"
#include "base/clock.h"
#include "base/log/log.h"
#include "base/log/messages.h"
#include "base/str.h"
#include "daemon/data/corpus.h"
#include "daemon/queue/job_json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

int jobs_model_root(struct jobs *jobs, const char *dir, bool from_hub, char **ret_root,
                    struct failure *failure) {
    char *root = NULL;
    int r = 0;

    if (from_hub)
        r = (root = hub_model_root(dir)) ? 0 : -ENOMEM;
    else if (jobs->models)
        r = models_root(jobs->models, dir, &root);
    if (r)
        return failure_oom(failure);
    *ret_root = root;
    return 0;
}

/* The calibration set of such a job; NULL: none. */
static const char *calibration_of(const struct params *params, enum job_kind kind) {
    return kind == JOB_QUANTIZE && params_calibrates(params) ? params->dataset : NULL;
}

const char *jobs_set_of(const struct params *params, enum job_kind kind, enum catalog_id file,
                        const char **ret_set) {
    const char *dataset = calibration_of(params, kind);
    enum catalog_id id;

    for (int i = -1; i < params->n_eval; i++) {
        const char *name = i < 0 ? dataset : params->eval[i];

        if (!name || corpus_file(name, i < 0 ? CORPUS_CALIBRATION : CORPUS_EVALUATION, &id) ||
            id != file)
            continue;
        *ret_set = name;
        return i < 0 ? "dataset" : "eval";
    }
    return NULL;
}

int jobs_files(const struct params *params, enum job_kind kind, bool *files) {
    const char *set;
    int n = 0;

    for (int i = 0; i < CATALOG_FILES; i++) {
        files[i] = jobs_set_of(params, kind, (enum catalog_id)i, &set) != NULL;
        n += files[i];
    }
    return n;
}

static bool is_here(struct jobs *jobs, enum catalog_id id) {
    cleanup(freep) char *path = NULL;

    return !jobs->source->fetch(jobs->source, catalog[id].host, catalog[id].path, &path, NULL);
}

bool jobs_files_are_here(struct jobs *jobs, const struct params *params, enum job_kind kind) {
    bool files[CATALOG_FILES];

    jobs_files(params, kind, files);
    for (int i = 0; i < CATALOG_FILES; i++) {
        if (files[i] && !is_here(jobs, (enum catalog_id)i))
            return false;
    }
    return true;
}

/* The code of the refusal when nothing can be fetched, and @ret_why in words; NULL: it can. */
static const char *why_not(struct jobs *jobs, char *ret_why, size_t size) {
    if (hub_is_offline(jobs->hub)) {
        snprintf(ret_why, size, "quantd is offline");
        return "hub_offline";
    }
    return hub_is_cut_off(jobs->hub, ret_why, size) ? "hub_unreachable" : NULL;
}

int jobs_check_fetch(struct jobs *jobs, const char *model, struct failure *failure) {
    char why[320];
    const char *code = why_not(jobs, why, sizeof(why));
    bool offline = str_equal(code, "hub_offline");

    if (!code)
        return 0;
    failure_field(failure, "model",
                  offline ? "switch hub-offline off, or bring the model into the cache"
                          : "try again when there is a network, or bring the model into the cache",
                  "'%s' is in no model root and not complete in the cache, and %s", model, why);
    if (failure)
        snprintf(failure->code, sizeof(failure->code), "%s", offline ? "model_not_found" : code);
    return -EINVAL;
}

/* The set @name, of the field @field, has no file here, and @why none comes. */
static int not_here(struct jobs *jobs, const char *field, const char *name,
                    struct failure *failure) {
    bool is_eval = str_equal(field, "eval");
    char why[320], hint[256];
    const char *code = why_not(jobs, why, sizeof(why));

    if (!code)
        return 0;
    snprintf(hint, sizeof(hint), "%s, %s, or give quantd a --mirror with the set",
             is_eval ? "measure a text of your own (eval file:PATH) or no set"
                     : "name a text of your own (file:PATH)",
             str_equal(code, "hub_offline") ? "switch hub-offline off"
                                            : "try again when there is a network");
    failure_field(failure, field, hint,
                  "the %sset '%s' is neither in a mirror nor in the cache, and %s",
                  is_eval ? "evaluation " : "calibration ", name, why);
    if (failure)
        snprintf(failure->code, sizeof(failure->code), "%s", code);
    return -EINVAL;
}

int jobs_check_sets(struct jobs *jobs, const struct params *params, enum job_kind kind,
                    struct failure *failure) {
    int r = 0;

    if (kind == JOB_EXPORT || !jobs->hub)
        return 0;
    for (int i = 0; i < CATALOG_FILES && !r; i++) {
        const char *set, *field = jobs_set_of(params, kind, (enum catalog_id)i, &set);

        if (field && !is_here(jobs, (enum catalog_id)i))
            r = not_here(jobs, field, set, failure);
    }
    return r;
}

int jobs_next_pull(struct jobs *jobs, const char *passed, struct job_row **ret_row,
                   struct failure *failure) {
    int r = store_begin(jobs->store, STORE_READ, failure);

    if (r)
        return r;
    r = store_next_pull(jobs->store, passed, ret_row);
    return store_end(jobs->store, r, failure);
}

int jobs_next_paused_pull(struct jobs *jobs, int64_t after, struct job_row **ret_row,
                          struct failure *failure) {
    int r = store_begin(jobs->store, STORE_READ, failure);

    if (r)
        return r;
    r = store_next_paused_pull(jobs->store, after, ret_row);
    return store_end(jobs->store, r, failure);
}

int jobs_pull_started(struct jobs *jobs, int64_t id, struct failure *failure) {
    cleanup(json_decrefp) json_t *data = json_pack("{ss}", "phase", WIRE_PHASE_PULL);
    int r;

    if (!data)
        return failure_oom(failure);
    r = store_begin(jobs->store, STORE_WORK, failure);
    if (r)
        return r;
    r = store_unpause_pull(jobs->store, id);
    if (!r)
        r = store_append_event(jobs->store, id, WIRE_EVENT_PHASE_STARTED, clock_wall_ms(), data,
                               NULL);
    r = store_end(jobs->store, r, failure);
    if (!r)
        events_wake(jobs->events);
    return r;
}

int jobs_pulled(struct jobs *jobs, const struct job_row *row, const char *model_dir,
                const char *commit, struct failure *failure) {
    cleanup(json_decrefp) json_t *params = json_copy(row->params);
    int r = 0;

    if (!params || (commit[0] && json_object_set_new(params, "model_commit", json_string(commit))))
        return failure_oom(failure);
    r = store_begin(jobs->store, STORE_WORK, failure);
    if (r)
        return r;
    r = store_set_pulled(jobs->store, row->id, model_dir, params);
    r = store_end(jobs->store, r, failure);
    if (r)
        return r;
    log_record(LOG_INFO, LOG_FIELDS(.job = row->id, .owner = row->owner),
               "job %" PRId64 ": all its files are here", row->id);
    events_wake(jobs->events);
    return 0;
}

int jobs_pull_failed(struct jobs *jobs, int64_t id, const struct failure *why,
                     struct failure *failure) {
    cleanup(json_decrefp) json_t *error = failure_to_json(why);
    cleanup(json_decrefp) json_t *data = error ? json_pack("{sO}", "error", error) : NULL;
    struct job_change change = {
        .from = JOB_QUEUED, .to = JOB_FAILED, .at = clock_wall_ms(), .error = error};
    int r;

    if (!data)
        return failure_oom(failure);
    r = store_begin(jobs->store, STORE_WORK, failure);
    if (r)
        return r;
    r = store_change_job(jobs->store, id, &change);
    if (!r)
        r = store_append_event(jobs->store, id, WIRE_EVENT_JOB_FAILED, change.at, data, NULL);
    r = store_end(jobs->store, r, failure);
    if (r)
        return r;
    log_record(LOG_WARNING, LOG_FIELDS(MESSAGE_JOB_FAILED, .job = id, .code = why->code),
               "job %" PRId64 " failed: %s: %s", id, why->code, why->detail);
    events_wake(jobs->events);
    return 0;
}

bool jobs_use_model(struct jobs *jobs, const char *hub_model) {
    bool used = true;
    int r = store_begin(jobs->store, STORE_READ, NULL);

    if (r)
        return true; /* better kept than missed */
    r = store_uses_model(jobs->store, hub_model, &used);
    return store_end(jobs->store, r, NULL) || used;
}
