// SPDX-License-Identifier: Apache-2.0
/* What a job is to the pipeline: its parameters, its folder, and its observer. */
#pragma once

#include "base/cache/cache.h"
#include "daemon/data/corpus.h"
#include "daemon/pipeline/params/params.h"

/*
 * What the observer gets beside the events of api/wire.h. No client sees these: the caller turns
 * them into something else.
 */
#define PIPELINE_LAYER_FOUND "layer.found"
#define PIPELINE_EVAL_FOUND "eval.found"
#define PIPELINE_FACTS "facts"

/* The code of the warning that what an earlier attempt had finished is not used. */
#define PIPELINE_STARTED_ANEW "started_anew"

struct pipeline_observer {
    void *ctx;
    /*
     * Something happened; @data is borrowed. Kinds and their data:
     *   phase.started   {phase: load|plan|calibrate|quantize|evaluate|export}
     *   progress        {phase, layer, layers_total, fraction, eta_seconds}: of the whole job;
     *                   may be dropped or merged, at most some a second
     *   layer.found, eval.found  as *.finished, of what an earlier attempt has done; it may have
     *                   been killed before it reported. Then
     *   job.resumed     {layer}: the first layer that still has to be done
     *   job.warning     {code, detail}
     *   plan.finished   as Plan of openapi.json: of target_bits
     *   layer.finished  {layer, seconds, matrices: [{name, method, reason?, tokens, damping,
     *                   error (relative output error), seconds}]}; on disk by now
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

/* The model that a quantized one says it was made from. All borrowed. */
struct job_original {
    const char *name;        /* as its job asked for it */
    const char *dir, *root;  /* as model_dir and model_root; dir NULL: it was not found */
    const char *fingerprint; /* of the model then */
    const char *why;         /* it was not found, for people */
};

struct pipeline_job {
    enum job_kind kind;
    const struct params *params; /* all borrowed */
    const char *model_dir;
    const char *model_root; /* that no link in it may leave; NULL: model_dir itself */
    const char *dir;        /* the job's own folder, there already; no one else writes into it */
    const struct corpora *corpora;
    const struct pipeline_observer *observer;
    const struct job_original *original; /* of an eval job's model; NULL: nothing names one */
    const char *hash_cache;     /* where hashes of models are kept, or NULL (model/fingerprint) */
    const struct cache *states; /* of originals, for later jobs (evaluate/states.h); or NULL */
};

static inline const char *job_model_root(const struct pipeline_job *job) {
    return job->model_root ? job->model_root : job->model_dir;
}

/*
 * pipeline_report() - report an event to @observer; takes @data. NULL is a failed allocation.
 * Return: 0, -ENOMEM with @failure, or what the observer returned. The thread of the run.
 */
static inline int pipeline_report(const struct pipeline_observer *observer, const char *kind,
                                  json_t *data, struct failure *failure) {
    int r = data ? observer->event(observer->ctx, kind, data) : failure_oom(failure);

    json_decref(data);
    return r;
}
