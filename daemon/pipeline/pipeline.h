// SPDX-License-Identifier: Apache-2.0
/*
 * What a job does, from its parameters and its folder alone: load, calibrate, quantize, evaluate,
 * export. It knows no queue and no HTTP, so the same call can run a job anywhere; it tells what it
 * does through one observer.
 *
 * Crash-only: each finished layer is in DIR/work, fsynced, before it is reported. Called again on
 * the same folder it continues after the last finished layer when its fingerprint (version,
 * parameters, model, calibration windows, device kind) is unchanged, else from the start. The
 * checkpoint appears as DIR/artifact by one rename, complete, with manifest.json.
 */
#pragma once

#include "daemon/data/corpus.h"
#include "daemon/pipeline/params.h"
#include "kernels/backend.h"

/* What the observer hears beside the events of api/wire.h; the caller makes something else of it.
 */
#define PIPELINE_LAYER_FOUND "layer.found"
#define PIPELINE_EVAL_FOUND "eval.found"
#define PIPELINE_FACTS "facts"

struct pipeline_observer {
    void *ctx;
    /*
     * Something happened; @data is borrowed. Kinds and their data:
     *   phase.started   {phase: load|calibrate|quantize|evaluate|export}
     *   progress        {phase, layer, layers_total, fraction, eta_seconds}: of the whole job;
     *                   may be dropped or merged, at most some a second
     *   layer.found, eval.found  as *.finished, of what an earlier attempt has done; it may have
     *                   been killed before it told. Then
     *   job.resumed     {layer}: the first layer that still has to be done
     *   job.warning     {code, detail}
     *   layer.finished  {layer, seconds, matrices: [{name, method: gptq|rtn, reason?, tokens,
     *                   damping, error (relative output error), seconds}]}; on disk by now
     *   eval.progress   {set, window, windows}
     *   eval.finished   {set, perplexity, stderr, tokens, windows, sha256 (of the windows)}
     *   facts           {model: {...}, params: {...}}: the model's facts, and parameters as
     *                   resolved, once they are known
     * Return: 0, or -errno: the pipeline stops and returns it.
     */
    int (*event)(void *ctx, const char *kind, json_t *data);
    /* Asked between steps, some times a second. True: the pipeline stops with -ECANCELED. */
    bool (*cancelled)(void *ctx);
};

struct pipeline_job {
    enum job_kind kind;
    const struct params *params; /* all borrowed */
    const char *model_dir;
    const char *dir; /* the job's own folder, there already; nobody else writes into it */
    const struct corpora *corpora;
    const struct pipeline_observer *observer;
};

/*
 * pipeline_run() - do the whole job on @backend; the thread of the backend.
 * @ret_result: owned by the caller: {perplexity: {set: {value, stderr, tokens, windows, sha256}},
 *              size_bytes, bits_per_weight, seconds: {phase: s}, peak_memory: {device, host},
 *              model_fingerprint, seqlen, artifacts: [{name, bytes, sha256}]}
 *
 * Return: 0; -ECANCELED; or another -errno with the failure, which is the job's error.
 */
int pipeline_run(const struct pipeline_job *job, struct backend *backend, json_t **ret_result,
                 struct failure *failure);
