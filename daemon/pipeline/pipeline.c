// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/pipeline.h"

#include "api/wire.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "daemon/pipeline/params/check.h"
#include "daemon/pipeline/params/schemes.h"
#include "daemon/pipeline/run.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define RESULT_MAX (64 << 20)

/* ---- the result ---- */

/* {phase: seconds, total}; NULL when out of memory. */
static json_t *seconds_of(const struct run *run) {
    cleanup(json_decrefp) json_t *seconds = json_object();
    double total = 0;

    for (int i = 0; i < N_PHASES; i++) {
        double phase = run->progress.seconds[i];

        total += phase;
        if (phase > 0 && json_object_set_new(seconds, phase_names[i], json_real(phase)))
            return NULL;
    }
    return json_object_set_new(seconds, "total", json_real(total)) ? NULL : steal_ptr(seconds);
}

/* {set: result}, with what was measured when the layers were made; NULL when out of memory. */
static json_t *perplexity_of(const struct run *run) {
    const json_t *made = json_object_get(run->made, "perplexity");
    cleanup(json_decrefp) json_t *perplexity = made ? json_clone(made) : json_object();

    for (int i = 0; i < run->n_evals; i++) {
        if (json_object_set(perplexity, run->evals[i].name, run->evals[i].result))
            return NULL;
    }
    return steal_ptr(perplexity);
}

/*
 * @name {set: value} of what comparing with the original gave, or what it gave when the layers
 * were made; NULL when out of memory.
 */
static json_t *details_of(const struct run *run, const char *name) {
    const json_t *made = json_object_get(run->made, name);
    cleanup(json_decrefp) json_t *all = made ? json_clone(made) : json_object();

    for (int i = 0; i < run->n_evals; i++) {
        json_t *value = json_object_get(run->evals[i].details, name);

        if (value && json_object_set(all, run->evals[i].name, value))
            return NULL;
    }
    return steal_ptr(all);
}

/* How the original was measured, or why it was not. */
static int add_original(const struct run *run, json_t *result) {
    if (run->no_original[0])
        return json_object_set_new(result, "no_difference", json_string(run->no_original));
    if (run->original_seconds > 0)
        return json_object_set_new(result, "original",
                                   json_pack("{s:f s:s s:i}", "seconds", run->original_seconds,
                                             "memory", run->original_on_host ? "host" : "device",
                                             "cached_windows", run->original_cached));
    return 0;
}

/* The plan of target_bits, but for the table that its event has; NULL: none. */
static json_t *plan_of(const struct run *run) {
    json_t *plan = run->plan ? json_copy(run->plan) : NULL;

    json_object_del(plan, "units");
    return plan;
}

/* Completes *@result, which holds what the export gave or is NULL. */
static int complete_result(struct run *run, json_t **result) {
    double bits = run->exports ? run->params->format->bits_per_weight(&run->checkpoint->config,
                                                                      &run->quantization)
                               : 0;
    cleanup(json_decrefp) json_t *rest = NULL;
    struct backend_info info;
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    run->b->ops->info(run->b, &info);
    if (!*result)
        *result = json_pack("{s:n s:[]}", "size_bytes", "artifacts");
    rest = json_pack("{s:o s:o s:o s:o s:{s:I s:I} s:s s:i s:o s:o*}", "perplexity",
                     perplexity_of(run), "baseline", details_of(run, "baseline"), "difference",
                     details_of(run, "difference"), "seconds", seconds_of(run), "peak_memory",
                     "device", (json_int_t)info.memory_peak, "host",
                     (json_int_t)usage.ru_maxrss * 1024, "model_fingerprint", run->fingerprint,
                     "seqlen", run->seqlen, "bits_per_weight",
                     bits > 0 ? json_real(bits) : json_null(), "plan", plan_of(run));
    return rest && !json_object_update(*result, rest) && !add_original(run, *result)
               ? 0
               : failure_oom(run->failure);
}

/* ---- publication ---- */

/* DIR/windows.json: {set: {sha256, nll: [mean NLL of each window]}}, to compare jobs in pairs. */
static int write_windows(struct run *run) {
    cleanup(freep) char *path = str_format("%s/windows.json", run->job->dir), *text = NULL;
    cleanup(json_decrefp) json_t *sets = json_object();
    int r;

    for (int i = 0; i < run->n_evals; i++) {
        const struct eval_set *set = &run->evals[i];

        if (json_object_set_new(sets, set->name,
                                json_pack("{s:s s:O}", "sha256", set->windows->sha256, "nll",
                                          json_object_get(set->details, "nll"))))
            return failure_oom(run->failure);
    }
    text = sets ? json_text(sets, JSON_SORT_KEYS | JSON_COMPACT) : NULL;
    if (!path || !text)
        return failure_oom(run->failure);
    r = file_replace(path, text, strlen(text));
    return r ? failure_errno(run->failure, r, "cannot write", path) : 0;
}

/* The folder @name of work/ becomes @path, with all names in it. */
static int publish_folder(struct run *run, const char *name, const char *path) {
    cleanup(freep) char *made = str_format("%s/%s", run->work_dir, name);
    cleanup(freep) char *inside = str_format("%s/%s/", run->work_dir, name);
    int r;

    if (!made || !inside)
        return failure_oom(run->failure);
    r = file_sync_parent(inside);
    if (!r)
        r = rename(made, path) ? -errno : file_sync_parent(path);
    return r ? failure_errno(run->failure, r, "cannot publish", path) : 0;
}

/*
 * The result is written first, then the codes, if any are kept; last the artifact appears by one
 * rename: when it and the result exist, the job is finished and work/ is of no more use.
 */
static int publish(struct run *run, const json_t *result) {
    cleanup(freep) char *path = str_format("%s/result.json", run->job->dir);
    cleanup(freep) char *text = json_text(result, JSON_SORT_KEYS | JSON_COMPACT);
    int r;

    if (!path || !text)
        return failure_oom(run->failure);
    r = run->n_evals ? write_windows(run) : 0;
    if (r)
        return r;
    r = file_replace(path, text, strlen(text));
    if (r)
        return failure_errno(run->failure, r, "cannot write", path);
    if (run_keeps_codes(run)) {
        r = dir_remove(run->codes_dir); /* of an attempt that was stopped right here */
        r = r ? failure_errno(run->failure, r, "cannot remove", run->codes_dir)
              : publish_folder(run, "codes", run->codes_dir);
    }
    if (!r && run->exports)
        r = publish_folder(run, "artifact", run->artifact_dir);
    if (r)
        return r;
    dir_remove(run->work_dir); /* what stays is swept with the job */
    return 0;
}

/* The result of an attempt that was stopped after it had published, or NULL. */
static json_t *published_result(struct run *run) {
    cleanup(freep) char *path = str_format("%s/result.json", run->job->dir);
    json_t *result = NULL;

    if (!path || (run->exports && access(run->artifact_dir, F_OK)))
        return NULL;
    json_parse_file(path, RESULT_MAX, "damaged", &result, NULL);
    if (!json_is_object(json_object_get(result, "perplexity")) ||
        !json_is_array(json_object_get(result, "artifacts"))) {
        json_decref(result);
        return NULL;
    }
    dir_remove(run->work_dir); /* which that attempt may not have come to */
    return result;
}

/* ---- the run ---- */

static int run_init(struct run *run) {
    int layers = run_layers(run);

    run->shards = calloc(layers, sizeof(*run->shards));
    run->reports = calloc(layers, sizeof(*run->reports));
    run->quantization = params_quantization(run->params);
    run->quantization.reader = run_work_format(run)->reader;
    if (!run->shards || !run->reports)
        return failure_oom(run->failure);
    return rules_schemes(run->params, &run->checkpoint->config, &run->quantization.schemes,
                         run->failure);
}

static void run_done(struct run *run) {
    rest_done(run);
    for (int i = 0; run->checkpoint && i < run_layers(run); i++) {
        if (run->shards)
            safetensors_free(run->shards[i]);
        if (run->reports)
            json_decref(run->reports[i]);
    }
    for (int i = 0; i < run->n_evals; i++) {
        windows_free(run->evals[i].windows);
        json_decref(run->evals[i].result);
        json_decref(run->evals[i].details);
    }
    free(run->quantization.schemes);
    original_close(run);
    rules_done(&run->planned.rules);
    json_decref(run->plan);
    free(run->shards);
    free(run->reports);
    windows_free(run->calibration);
    tokenizer_free(run->tokenizer);
    fingerprint_free(run->hashing);
    checkpoint_free(run->checkpoint);
    free(run->work_dir);
    free(run->artifact_dir);
    free(run->codes_dir);
    json_decref(run->made);
    params_free(run->made_params);
}

/* A finished layer costs only the second pass, and nothing when all are finished. */
static void begin_units(struct run *run) {
    double windows = run->calibration ? run->calibration->n : 0,
           solve = method_solve_units(run->params->method, run->params->refine);
    double passes = windows * run_sides(run); /* of a window through a layer */
    int layers = run_layers(run);
    struct progress_plan plan = {.layers = layers};

    if (run->quantizes) {
        plan.total = progress_quantize_units(layers, passes, solve);
        plan.done = run->n_finished * (passes + solve);
        plan.tokens_per_unit[PHASE_QUANTIZE] =
            windows * run->seqlen / layers / (2 * passes + solve);
        if (run->n_finished == layers)
            plan.done = plan.total;
    }
    plan.total += bits_work(run);
    if (run->made)
        plan.total = layers;
    plan.tokens_per_unit[PHASE_EVALUATE] = run->seqlen / (layers + 1.0);
    for (int i = 0; i < run->n_evals; i++) {
        double units =
            progress_evaluate_units(layers, run->evals[i].windows->n, run->original != NULL);

        plan.total += units;
        plan.done += run->evals[i].result ? units : 0;
    }
    progress_begin(&run->progress, &plan);
}

/* What was said when the job was taken, if its model was here. */
static int warn(struct run *run) {
    char text[CHECK_WARNING_SIZE];
    int r = check_warning(&run->checkpoint->config, run->params, text, run->failure);

    if (r || !text[0] || run->n_finished > 0)
        return r;
    return run_event(run, WIRE_EVENT_JOB_WARNING,
                     json_pack("{s:s s:s}", "code",
                               run->params->gguf_type ? "narrow_matrices" : "loaders", "detail",
                               text));
}

/* Load, calibrate, quantize and evaluate. */
static int compute(struct run *run) {
    int r = load_inputs(run);

    if (!r)
        r = run_init(run);
    if (!r)
        r = work_open(run);
    if (!r)
        r = warn(run);
    if (r)
        return r;
    r = bits_look(run);
    if (r)
        return r;
    begin_units(run);
    r = run->exports ? rest_begin(run) : 0;
    if (!r)
        r = bits_plan(run);
    if (!r && run->quantizes)
        r = quantize_layers(run);
    if (!r)
        r = evaluate_sets(run);
    return r ? r : work_learn_fingerprint(run, true);
}

/* What an export job has instead: the codes of another job. */
static int open_made(struct run *run) {
    int r = reexport_open(run);

    if (r)
        return r;
    begin_units(run);
    return rest_begin(run);
}

static int run_phases(struct run *run, json_t **ret_result) {
    cleanup(json_decrefp) json_t *result = NULL;
    int r;

    r = progress_phase(&run->progress, PHASE_LOAD);
    if (!r)
        r = run->job->kind == JOB_EXPORT ? open_made(run) : compute(run);
    if (!r && run->exports)
        r = export_checkpoint(run, &result);
    if (!r && run->made)
        r = reexport_check_read(run);
    if (!r)
        r = progress_end(&run->progress);
    if (r)
        return r;
    r = run_check_model(run); /* the last look: what was read belongs to one model */
    if (r)
        return r;
    r = complete_result(run, &result);
    if (!r)
        r = publish(run, result);
    if (!r)
        *ret_result = steal_ptr(result);
    return r;
}

int pipeline_run(const struct pipeline_job *job, struct backend *backend, json_t **ret_result,
                 struct failure *failure) {
    struct run run = {
        .job = job,
        .params = job->params,
        .b = backend,
        .failure = failure,
        .quantizes = job->params->wbits != 16 && !job->params->plan_only,
        .exports = (job->params->wbits != 16 && !job->params->plan_only) || job->kind == JOB_EXPORT,
        .progress = {.observer = job->observer, .failure = failure},
        .work_dir = str_format("%s/work", job->dir),
        .artifact_dir = str_format("%s/artifact", job->dir),
        .codes_dir = str_format("%s/codes", job->dir),
    };
    int r;

    *failure = (struct failure){};
    if (!run.work_dir || !run.artifact_dir || !run.codes_dir) {
        r = failure_oom(failure);
    } else {
        *ret_result = published_result(&run);
        r = *ret_result ? 0 : run_phases(&run, ret_result);
    }
    run_done(&run);
    if (r == -ECANCELED)
        failure_set(failure, r, "cancelled", NULL, "the job was cancelled");
    /* An op that failed left its reason with the backend. */
    if (r && !failure->code[0])
        *failure = *backend->ops->failure(backend);
    if (r && !failure->code[0])
        failure_errno(failure, r, "cannot run", "the job");
    return r;
}
