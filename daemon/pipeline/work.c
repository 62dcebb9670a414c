// SPDX-License-Identifier: Apache-2.0
/*
 * DIR/work: what a run leaves behind so that the next attempt can go on.
 *   plan.json              what the layers depend on (plan.h)
 *   layer-000.safetensors  a finished layer, in the format of the result when that is lossless
 *   layer-000.weights.safetensors  the same in the format of the result, when that is of weights
 *   layer-000.json         its report, written after them: the layer counts when this is there
 *   eval-0.json            the result of an evaluated set, with the windows' hash
 */
#include "api/wire.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/str.h"
#include "daemon/pipeline/plan.h"
#include "daemon/pipeline/run.h"

#include <errno.h>
#include <string.h>

#define RECORD_MAX (64 << 20)

char *work_layer_path(const struct run *run, int layer, const char *extension) {
    return str_format("%s/layer-%03d.%s", run->work_dir, layer, extension);
}

static char *eval_path(const struct run *run, int i) {
    return str_format("%s/eval-%d.json", run->work_dir, i);
}

static int write_json(struct run *run, char *path, const json_t *value) {
    cleanup(freep) char *owned = path;
    cleanup(freep) char *text = json_text(value, JSON_SORT_KEYS | JSON_COMPACT);
    int r;

    if (!owned || !text)
        return failure_oom(run->failure);
    r = file_replace(owned, text, strlen(text));
    return r ? failure_errno(run->failure, r, "cannot write", owned) : 0;
}

/* The JSON at @path, which is freed; NULL when it is not there or is damaged. */
static json_t *read_json(char *path) {
    cleanup(freep) char *owned = path;
    json_t *value = NULL;

    if (owned)
        json_parse_file(owned, RECORD_MAX, "damaged", &value, NULL);
    return value;
}

static int tell_layer(struct run *run, const char *kind, int layer) {
    return run_event(run, kind, json_incref(run->reports[layer]));
}

static int tell_eval(struct run *run, const char *kind, int i) {
    const struct eval_set *set = &run->evals[i];
    cleanup(json_decrefp) json_t *event = json_clone(set->result);
    const char *name;
    json_t *value;

    json_object_foreach(set->details, name, value) {
        if (!str_equal(name, "nll") && json_object_set(event, name, value))
            return failure_oom(run->failure);
    }
    if (!event || json_object_set(event, "perplexity", json_object_get(event, "value")) ||
        json_object_del(event, "value") ||
        json_object_set_new(event, "set", json_string(set->name)))
        return failure_oom(run->failure);
    return run_event(run, kind, steal_ptr(event));
}

/* Is @report the record of layer @layer? One that is damaged counts as none. */
static bool is_report(const json_t *report, int layer) {
    const json_t *number = json_object_get(report, "layer");

    return json_is_integer(number) && json_integer_value(number) == layer &&
           json_is_array(json_object_get(report, "matrices"));
}

/* Is the file of layer @layer in the job's own format there, where it is another one? */
static bool has_weights(const struct run *run, int layer) {
    cleanup(freep) char *path = work_layer_path(run, layer, WORK_WEIGHTS);
    cleanup(safetensors_freep) struct safetensors *file = NULL;

    return !run->params->format->of_weights ||
           (path && safetensors_open(NULL, path, &file, NULL) == 0);
}

/* Opens the finished layers, from the first on, until one is missing. */
static int find_layers(struct run *run) {
    for (int i = 0; i < run_layers(run); i++) {
        cleanup(freep) char *shard = work_layer_path(run, i, WORK_LAYER);
        json_t *report = read_json(work_layer_path(run, i, WORK_RECORD));
        int r;

        if (!shard)
            return failure_oom(run->failure);
        if (!is_report(report, i) || !has_weights(run, i) ||
            safetensors_open(NULL, shard, &run->shards[i], NULL)) {
            json_decref(report);
            return 0;
        }
        run->reports[i] = report;
        run->n_finished = i + 1;
        r = tell_layer(run, PIPELINE_LAYER_FOUND, i);
        if (r)
            return r;
    }
    return 0;
}

static int find_evals(struct run *run) {
    int known = work_learn_fingerprint(run, true);

    if (known)
        return known;
    for (int i = 0; i < run->n_evals; i++) {
        struct eval_set *set = &run->evals[i];
        cleanup(json_decrefp) json_t *record = read_json(eval_path(run, i));
        const char *model = json_string_value(json_object_get(record, "model"));
        json_t *result = json_object_get(record, "result");
        int r;

        if (!str_equal(model, run->fingerprint) ||
            !json_is_number(json_object_get(result, "value")) ||
            !json_is_object(json_object_get(record, "details")) ||
            !str_equal(json_string_value(json_object_get(result, "sha256")), set->windows->sha256))
            continue;
        set->result = json_incref(result);
        set->details = json_incref(json_object_get(record, "details"));
        r = tell_eval(run, PIPELINE_EVAL_FOUND, i);
        if (r)
            return r;
    }
    return 0;
}

/* So that a later attempt need not find it out again before it goes on. */
static int note_fingerprint(struct run *run) {
    cleanup(plan_done) struct plan plan = {};

    if (run->batch == 0) /* there is no plan yet */
        return 0;
    return plan_make(run, &plan) ? failure_oom(run->failure) : plan_write(run, &plan);
}

int work_learn_fingerprint(struct run *run, bool wait) {
    int r;

    if (run->fingerprint[0] || (!wait && !fingerprint_is_known(run->hashing)))
        return 0;
    r = fingerprint_wait(run->hashing, run->fingerprint, run->failure);
    if (!r)
        r = manifest_check(run);
    if (!r)
        r = note_fingerprint(run);
    return r ? r : load_report_facts(run);
}

/* Did an earlier attempt leave a layer or a set? */
static bool has_records(const struct run *run) {
    cleanup(freep) char *layer = work_layer_path(run, 0, WORK_RECORD);
    cleanup(freep) char *set = eval_path(run, 0);

    return layer && set && (!access(layer, F_OK) || !access(set, F_OK));
}

/* Begins an empty folder for @plan; @why: what is wrong with the one that is there, or NULL. */
static int start_over(struct run *run, struct plan *plan, const char *why) {
    int r = choose_batch(run, 0);

    if (!r && why && has_records(run))
        r = run_event(run, WIRE_EVENT_JOB_WARNING,
                      json_pack("{s:s s:o}", "code", PIPELINE_STARTED_ANEW, "detail",
                                json_sprintf("what an earlier attempt had finished is not used: "
                                             "%s",
                                             why)));
    if (r)
        return r;
    r = dir_remove(run->work_dir);
    if (!r)
        r = dir_make(run->work_dir);
    if (r)
        return failure_errno(run->failure, r, "cannot set up", run->work_dir);
    plan->batch = run->batch;
    return plan_write(run, plan);
}

/* Is the model that @old began with the one of now? By its files, or else by their content. */
static int same_model(struct run *run, const struct plan *old, const struct plan *now,
                      bool *ret_same) {
    int r;

    *ret_same = json_equal(old->files, now->files);
    if (*ret_same || !old->model[0])
        return 0;
    r = work_learn_fingerprint(run, true);
    *ret_same = !r && str_equal(old->model, run->fingerprint);
    return r;
}

/* Goes on after what is there. */
static int resume(struct run *run, const struct plan *old, struct plan *plan) {
    int r = choose_batch(run, old->batch);

    plan->batch = run->batch;
    if (!r)
        r = plan_write(run, plan);
    if (!r && run->quantizes)
        r = find_layers(run);
    /* A set counts only on top of complete layers, which the plan vouches for. */
    if (!r && (!run->quantizes || run->n_finished == run_layers(run)))
        r = find_evals(run);
    return r ? r
             : run_event(run, WIRE_EVENT_JOB_RESUMED, json_pack("{s:i}", "layer", run->n_finished));
}

int work_open(struct run *run) {
    cleanup(plan_done) struct plan old = {}, plan = {};
    cleanup(freep) char *why = NULL;
    bool same;
    int r;

    if (plan_read(run, &old) || plan_make(run, &plan))
        return failure_oom(run->failure);
    if (!old.settings)
        return start_over(run, &plan, "its plan is missing, or of another version");
    if (plan_difference(&old, &plan, &why))
        return failure_oom(run->failure);
    if (why)
        return start_over(run, &plan, why);
    r = same_model(run, &old, &plan, &same);
    if (r)
        return r;
    if (!same)
        return start_over(run, &plan, "the model's files were changed or replaced");
    memcpy(plan.model, run->fingerprint[0] ? run->fingerprint : old.model, sizeof(plan.model));
    return resume(run, &old, &plan);
}

int work_keep_layer(struct run *run, int layer, json_t *report) {
    cleanup(freep) char *shard = work_layer_path(run, layer, WORK_LAYER);
    int r;

    run->reports[layer] = report;
    if (!shard || !report)
        return failure_oom(run->failure);
    r = safetensors_open(NULL, shard, &run->shards[layer], run->failure);
    if (r)
        return r;
    run->n_finished = layer + 1;
    return tell_layer(run, WIRE_EVENT_LAYER_FINISHED, layer);
}

int work_keep_eval(struct run *run, int i) {
    cleanup(json_decrefp) json_t *record = NULL;
    int r = work_learn_fingerprint(run, true);

    if (r)
        return r;
    record = json_pack("{s:s s:O s:O}", "model", run->fingerprint, "result", run->evals[i].result,
                       "details", run->evals[i].details);
    r = record ? write_json(run, eval_path(run, i), record) : failure_oom(run->failure);
    return r ? r : tell_eval(run, WIRE_EVENT_EVAL_FINISHED, i);
}
