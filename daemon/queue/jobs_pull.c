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

int jobs_files(const struct params *params, enum job_kind kind, bool *files) {
    enum catalog_id id;
    int n = 0;

    memset(files, 0, CATALOG_FILES * sizeof(*files));
    if (kind == JOB_QUANTIZE && params_calibrates(params) && params->dataset &&
        !corpus_file(params->dataset, CORPUS_CALIBRATION, &id))
        files[id] = true;
    for (int i = 0; i < params->n_eval; i++)
        if (!corpus_file(params->eval[i], CORPUS_EVALUATION, &id))
            files[id] = true;
    for (int i = 0; i < CATALOG_FILES; i++)
        n += files[i];
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

/* The set @name, of the field @field, has no file here. */
static int not_here(const char *field, const char *name, struct failure *failure) {
    bool is_eval = str_equal(field, "eval");

    failure_field(failure, field,
                  is_eval ? "measure a text of your own (eval file:PATH) or nothing (eval none), "
                            "switch hub-offline off, or give quantd a --mirror with the set"
                          : "name a text of your own (file:PATH), switch hub-offline off, or give "
                            "quantd a --mirror with the set",
                  "the %sset '%s' is neither in a mirror nor in the cache, and quantd is offline",
                  is_eval ? "evaluation " : "calibration ", name);
    if (failure)
        snprintf(failure->code, sizeof(failure->code), "hub_offline");
    return -EINVAL;
}

int jobs_check_offline(struct jobs *jobs, const struct params *params, enum job_kind kind,
                       struct failure *failure) {
    enum catalog_id id;

    if (kind == JOB_EXPORT || !jobs->hub || !hub_is_offline(jobs->hub))
        return 0;
    if (kind == JOB_QUANTIZE && params_calibrates(params) && params->dataset &&
        !corpus_file(params->dataset, CORPUS_CALIBRATION, &id) && !is_here(jobs, id))
        return not_here("dataset", params->dataset, failure);
    for (int i = 0; i < params->n_eval; i++)
        if (!corpus_file(params->eval[i], CORPUS_EVALUATION, &id) && !is_here(jobs, id))
            return not_here("eval", params->eval[i], failure);
    return 0;
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
