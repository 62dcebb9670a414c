// SPDX-License-Identifier: Apache-2.0
#include "daemon/queue/orphans/orphans.h"

#include "api/wire.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log/log.h"
#include "base/str.h"
#include "daemon/files/paths.h"
#include "daemon/pipeline/export/reexport.h"
#include "daemon/queue/job_json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define LAYERS_MAX 100000

/* What becomes of an orphan. */
struct adoption {
    struct orphan orphan;
    const char *owner; /* borrowed */
    json_t *params;    /* as jobs have them; owned */
    json_t *model;     /* facts of it; owned */
    json_t *layers;    /* [{layer, seconds, matrices}]; owned */
};

static void adoption_done(struct adoption *adoption) {
    orphan_done(&adoption->orphan);
    json_decref(adoption->params);
    json_decref(adoption->model);
    json_decref(adoption->layers);
}

/* -------- what the folder says, as the store has it -------- */

/* The parameters with what a job learns when it runs. NULL: out of memory. */
static json_t *params_of(const struct orphan *orphan) {
    cleanup(json_decrefp) json_t *params = params_to_json(orphan->params);
    const json_t *text = json_object_get(orphan->finished.quantd, "calibration_sha256");

    if (!params || (json_string_length(text) &&
                    json_object_set_new(params, "dataset_sha256", json_clone(text))))
        return NULL;
    return steal_ptr(params);
}

/* The layer that the name of @matrix says; -1: none. */
static int layer_of(const json_t *matrix) {
    const char *name = json_string_value(json_object_get(matrix, "name"));
    int layer = -1;

    if (!name || sscanf(name, "model.layers.%9d.", &layer) != 1 || layer >= LAYERS_MAX)
        return -1;
    return layer;
}

/* A report as of a finished layer; how long it took is not known any more. */
static int add_layer(json_t *layers, int layer) {
    return json_array_append_new(layers,
                                 json_pack("{si sn s[]}", "layer", layer, "seconds", "matrices"));
}

static int add_matrix(json_t *layers, const json_t *matrix) {
    json_t *report = json_array_get(layers, json_array_size(layers) - 1);
    json_t *copy = json_clone(matrix);

    if (!copy || json_object_set_new(copy, "seconds", json_null()) ||
        json_array_append(json_object_get(report, "matrices"), copy)) {
        json_decref(copy);
        return -ENOMEM;
    }
    json_decref(copy);
    return 0;
}

/* The reports of all layers, of which quantd.json has the matrices, in the order of layers. */
static int layers_of(const struct orphan *orphan, json_t **ret_layers, struct failure *failure) {
    cleanup(json_decrefp) json_t *layers = json_array();
    json_t *matrix;
    int last = -1;
    size_t i;

    json_array_foreach(json_object_get(orphan->finished.quantd, "matrices"), i, matrix) {
        int layer = layer_of(matrix);

        if (layer < 0 || layer < last)
            return failure_set(failure, -EBUSY, "folder_damaged",
                               "bring the folder back from a copy, or delete it",
                               "quantd.json names matrices of no layer, or in no order");
        if ((layer > last && add_layer(layers, layer)) || add_matrix(layers, matrix))
            return failure_oom(failure);
        last = layer;
    }
    *ret_layers = steal_ptr(layers);
    return 0;
}

static int prepare(struct adoption *adoption, struct failure *failure) {
    const struct orphan *orphan = &adoption->orphan;
    cleanup(freep) char *artifact = str_format("%s/artifact", orphan->dir);
    const char *fingerprint =
        json_string_value(json_object_get(orphan->finished.result, "model_fingerprint"));
    int r;

    if (!artifact)
        return failure_oom(failure);
    adoption->params = params_of(orphan);
    if (!adoption->params)
        return failure_oom(failure);
    r = reexport_facts(artifact, fingerprint, &adoption->model, failure);
    return r ? r : layers_of(orphan, &adoption->layers, failure);
}

/* -------- the row, and what hangs on it -------- */

static int put_layers(struct jobs *jobs, int64_t id, json_t *layers) {
    json_t *report;
    size_t i;
    int r = 0;

    json_array_foreach(layers, i, report) {
        if (!r)
            r = store_put_layer(jobs->store, id,
                                json_integer_value(json_object_get(report, "layer")), report);
    }
    return r;
}

static int put_events(struct jobs *jobs, int64_t id, int64_t at, json_t *result) {
    cleanup(json_decrefp) json_t *queued = json_pack("{si sb}", "attempt", 1, "adopted", 1);
    cleanup(json_decrefp) json_t *succeeded =
        json_pack("{so sb}", "result", job_result(result), "adopted", 1);
    int r = queued && succeeded ? 0 : -ENOMEM;

    if (!r)
        r = store_append_event(jobs->store, id, WIRE_EVENT_JOB_QUEUED, at, queued, NULL);
    if (!r)
        r = store_append_event(jobs->store, id, WIRE_EVENT_JOB_SUCCEEDED, at, succeeded, NULL);
    return r;
}

/* Inside a transaction. A job that has ended does not change: the row comes with its baseline. */
static int insert(struct jobs *jobs, const struct adoption *adoption, int64_t at, json_t *result) {
    const struct job_row row = {
        .id = adoption->orphan.id, .owner = (char *)adoption->owner, .params = adoption->params};
    cleanup(json_decrefp) json_t *labels = json_object();
    const struct new_job job = {.kind = job_kind_name(JOB_QUANTIZE),
                                .owner = adoption->owner,
                                .name = "",
                                .model_dir = "",
                                .labels = labels,
                                .request = adoption->params,
                                .params = adoption->params,
                                .private = true,
                                .created_at = at};
    const struct adopted_job adopted = {.id = row.id, .result = result, .model = adoption->model};
    int r = labels ? jobs_find_baseline(jobs, &row, result) : -ENOMEM;

    if (!r)
        r = store_adopt_job(jobs->store, &job, &adopted);
    if (!r)
        r = jobs_record_evals(jobs, &row, result);
    if (!r)
        r = put_layers(jobs, row.id, adoption->layers);
    return r ? r : put_events(jobs, row.id, at, result);
}

static int store(struct jobs *jobs, const struct adoption *adoption, struct failure *failure) {
    cleanup(json_decrefp) json_t *result = json_clone(adoption->orphan.finished.result);
    int64_t id = adoption->orphan.id;
    int r;

    if (!result)
        return failure_oom(failure);
    r = store_begin(jobs->store, STORE_WRITE, failure);
    if (r)
        return r;
    r = insert(jobs, adoption, clock_wall_ms(), result);
    if (r == -EEXIST)
        failure_set(failure, r, "orphan_not_found", NULL, "job '%" PRId64 "' is there", id);
    if (r == -ENOMEM)
        failure_oom(failure);
    return store_end(jobs->store, r, failure);
}

/* -------- the whole -------- */

int orphan_adopt(struct jobs *jobs, int64_t id, const char *owner, const atomic_bool *stop,
                 struct failure *failure) {
    cleanup(adoption_done) struct adoption adoption = {.owner = owner};
    cleanup(freep) char *work = NULL;
    int r = orphan_look(jobs, id, &adoption.orphan, failure);

    if (r)
        return r;
    if (adoption.orphan.state != ORPHAN_FINISHED) {
        *failure = adoption.orphan.why;
        return -EBUSY;
    }
    r = finished_verify(adoption.orphan.dir, &adoption.orphan.finished, stop, failure);
    if (!r)
        r = prepare(&adoption, failure);
    if (!r)
        r = store(jobs, &adoption, failure);
    if (r)
        return r == -EBADMSG ? -EBUSY : r;
    events_wake(jobs->events);
    log_record(LOG_NOTICE, LOG_FIELDS(.job = id, .owner = owner),
               "job %" PRId64 " is adopted from '%s', as a private job of '%s'", id,
               adoption.orphan.dir, owner);
    /* What a crash right after the publication left is of no more use. */
    work = str_format("%s/work", adoption.orphan.dir);
    if (work && dir_remove(work))
        log_warning("cannot remove '%s'", work);
    return 0;
}
