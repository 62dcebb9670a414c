// SPDX-License-Identifier: Apache-2.0
/*
 * DIR/work: what a run leaves behind so that the next attempt can go on.
 *   plan.json              the fingerprint of everything that the layers depend on, and the
 *                          batch, which shapes the order of sums
 *   layer-000.safetensors  a finished layer, in the format of the result when that is lossless
 *   layer-000.json         its report, written after it: the layer counts when this is there
 *   eval-0.json            the result of an evaluated set, with the windows' hash
 */
#include "api/wire.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/str.h"
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

/* What the bytes of a layer depend on. */
static int fingerprint(const struct run *run, char ret_text[SHA256_TEXT_SIZE]) {
    cleanup(json_decrefp) json_t *params = params_to_json(run->params);
    cleanup(json_decrefp) json_t *all = NULL;
    cleanup(freep) char *text = NULL;

    json_object_del(params, "eval");
    json_object_del(params, "format");
    json_object_del(params, "model");
    json_object_del(params, "dataset");
    all = json_pack("{s:s s:s s:s s:O s:i s:s}", "version", QUANTD_VERSION, "device",
                    run->b->ops->name, "model", run->checkpoint->fingerprint, "params", params,
                    "seqlen", run->seqlen, "calibration",
                    run->calibration ? run->calibration->sha256 : "");
    text = all ? json_text(all, JSON_SORT_KEYS | JSON_COMPACT) : NULL;
    return text ? sha256_of(text, strlen(text), ret_text) : -ENOMEM;
}

static int tell_layer(struct run *run, const char *kind, int layer) {
    return run_event(run, kind, json_incref(run->reports[layer]));
}

static int tell_eval(struct run *run, const char *kind, int i) {
    const struct eval_set *set = &run->evals[i];
    json_t *event = json_copy(set->result);

    json_object_set_new(event, "perplexity", json_incref(json_object_get(event, "value")));
    json_object_del(event, "value");
    json_object_set_new(event, "set", json_string(set->name));
    return run_event(run, kind, event);
}

/* Is @report the record of layer @layer? One that is damaged counts as none. */
static bool is_report(const json_t *report, int layer) {
    const json_t *number = json_object_get(report, "layer");

    return json_is_integer(number) && json_integer_value(number) == layer &&
           json_is_array(json_object_get(report, "matrices"));
}

/* Opens the finished layers, from the first on, until one is missing. */
static int find_layers(struct run *run) {
    for (int i = 0; i < run_layers(run); i++) {
        cleanup(freep) char *shard = work_layer_path(run, i, "safetensors");
        json_t *report = read_json(work_layer_path(run, i, "json"));
        int r;

        if (!shard)
            return failure_oom(run->failure);
        if (!is_report(report, i) || safetensors_open(shard, &run->shards[i], NULL)) {
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
    for (int i = 0; i < run->n_evals; i++) {
        struct eval_set *set = &run->evals[i];
        cleanup(json_decrefp) json_t *record = read_json(eval_path(run, i));
        const char *model = json_string_value(json_object_get(record, "model"));
        json_t *result = json_object_get(record, "result");
        int r;

        if (!str_equal(model, run->checkpoint->fingerprint) ||
            !json_is_number(json_object_get(result, "value")) ||
            !str_equal(json_string_value(json_object_get(result, "sha256")), set->windows->sha256))
            continue;
        set->result = json_incref(result);
        r = tell_eval(run, PIPELINE_EVAL_FOUND, i);
        if (r)
            return r;
    }
    return 0;
}

/* Begins an empty folder for the plan @fingerprint. */
static int start_over(struct run *run, char *path, const char *fingerprint_text) {
    cleanup(json_decrefp) json_t *plan = NULL;
    cleanup(freep) char *owned = path;
    int r;

    r = choose_batch(run, 0);
    if (r)
        return r;
    r = dir_remove(run->work_dir);
    if (!r)
        r = dir_make(run->work_dir);
    if (r)
        return failure_errno(run->failure, r, "cannot set up", run->work_dir);
    plan = json_pack("{s:s s:i}", "fingerprint", fingerprint_text, "batch", run->batch);
    return write_json(run, steal_ptr(owned), plan);
}

int work_open(struct run *run) {
    char *path = str_format("%s/plan.json", run->work_dir);
    cleanup(json_decrefp) json_t *old = path ? read_json(strdup(path)) : NULL;
    json_int_t batch = json_integer_value(json_object_get(old, "batch"));
    char text[SHA256_TEXT_SIZE];
    int r;

    if (!path || fingerprint(run, text)) {
        free(path);
        return failure_oom(run->failure);
    }
    if (!str_equal(json_string_value(json_object_get(old, "fingerprint")), text) || batch < 1 ||
        batch > PARAMS_BATCH_MAX)
        return start_over(run, path, text);

    r = choose_batch(run, (int)batch);
    /* Another batch is another order of sums: the finished layers would not fit the rest. */
    if (r == -ENOMEM && !run->params->batch)
        return start_over(run, path, text);
    free(path);
    if (!r && run->quantizes)
        r = find_layers(run);
    if (r)
        return r;
    /* A set counts only on top of complete layers, which the fingerprint vouches for. */
    if (!run->quantizes || run->n_finished == run_layers(run))
        r = find_evals(run);
    return r ? r
             : run_event(run, WIRE_EVENT_JOB_RESUMED, json_pack("{s:i}", "layer", run->n_finished));
}

int work_keep_layer(struct run *run, int layer, json_t *report) {
    cleanup(freep) char *shard = work_layer_path(run, layer, "safetensors");
    int r;

    run->reports[layer] = report;
    if (!shard || !report)
        return failure_oom(run->failure);
    r = write_json(run, work_layer_path(run, layer, "json"), report);
    if (!r)
        r = safetensors_open(shard, &run->shards[layer], run->failure);
    if (r)
        return r;
    run->n_finished = layer + 1;
    return tell_layer(run, WIRE_EVENT_LAYER_FINISHED, layer);
}

int work_keep_eval(struct run *run, int i) {
    cleanup(json_decrefp) json_t *record = json_pack(
        "{s:s s:O}", "model", run->checkpoint->fingerprint, "result", run->evals[i].result);
    int r = record ? write_json(run, eval_path(run, i), record) : failure_oom(run->failure);

    return r ? r : tell_eval(run, WIRE_EVENT_EVAL_FINISHED, i);
}
