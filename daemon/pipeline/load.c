// SPDX-License-Identifier: Apache-2.0
/* The first phase: everything the job reads is opened and checked before any hour is spent. */
#include "api/wire.h"
#include "daemon/model/contents.h"
#include "daemon/pipeline/params/check.h"
#include "daemon/pipeline/params/request.h"
#include "daemon/pipeline/run.h"

#include <errno.h>

/* Every token must have a row of the embedding. */
static int check_ids(struct run *run, const struct windows *windows, const char *name) {
    int vocab = run->checkpoint->config.vocab_size;

    for (size_t i = 0; i < (size_t)windows->n * windows->seqlen; i++) {
        if (windows->ids[i] < 0 || windows->ids[i] >= vocab)
            return failure_set(run->failure, -EBADMSG, "model_invalid",
                               "the model's tokenizer.json is not the one it was trained with",
                               "token %d of data set '%s' is outside the vocabulary of %d",
                               windows->ids[i], name, vocab);
    }
    return 0;
}

static int read_calibration(struct run *run) {
    const struct params *p = run->params;
    cleanup(corpus_freep) struct corpus *corpus = NULL;
    int r;

    r = corpus_load(run->job->corpora, p->dataset, CORPUS_CALIBRATION, &corpus, run->failure);
    if (!r)
        r = windows_sample(corpus, run->tokenizer, p->nsamples, run->seqlen, p->seed,
                           &run->calibration, run->failure);
    return r ? check_name_set(p->dataset, r, run->failure)
             : check_ids(run, run->calibration, p->dataset);
}

static int read_eval(struct run *run, struct eval_set *set) {
    cleanup(corpus_freep) struct corpus *corpus = NULL;
    int r;

    r = corpus_load(run->job->corpora, set->name, CORPUS_EVALUATION, &corpus, run->failure);
    if (!r)
        r = windows_cut(corpus, run->tokenizer, run->seqlen, &set->windows, run->failure);
    return r ? check_name_set(set->name, r, run->failure) : check_ids(run, set->windows, set->name);
}

json_t *load_model_facts(const struct model_config *c, const char *fingerprint) {
    return json_pack("{s:I s:i s:i s:i s:i s:i s:i s:b s:s?}", "parameters",
                     (json_int_t)arch_n_parameters(c), "layers", c->num_hidden_layers,
                     "hidden_size", c->hidden_size, "intermediate_size", c->intermediate_size,
                     "experts", c->num_experts, "experts_per_token", c->num_experts_per_tok,
                     "vocab_size", c->vocab_size, "quantized", c->quantization.present,
                     "fingerprint", fingerprint && fingerprint[0] ? fingerprint : NULL);
}

/* NULL when out of memory. */
static json_t *facts(const struct run *run) {
    cleanup(json_decrefp) json_t *params = params_to_json(run->params);

    if (json_object_set_new(params, "seqlen", json_integer(run->seqlen)) ||
        (run->calibration &&
         json_object_set_new(params, "dataset_sha256", json_string(run->calibration->sha256))))
        return NULL;
    return json_pack("{s:O s:o}", "params", params, "model",
                     load_model_facts(&run->checkpoint->config, run->fingerprint));
}

int load_report_facts(struct run *run) {
    return run_event(run, PIPELINE_FACTS, facts(run));
}

/* Opens the model; its files are hashed from now on, beside everything else. */
static int open_model(struct run *run) {
    int r = check_open(job_model_root(run->job), run->job->model_dir, run->params, &run->checkpoint,
                       run->failure);

    if (!r)
        r = checkpoint_watch(run->checkpoint, "tokenizer.json", run->failure);
    return r ? r
             : checkpoint_start_hashing(run->checkpoint, run->job->hash_cache, &run->hashing,
                                        run->failure);
}

/* What would end the job after its last layer, or make its figures those of no model. */
static int check_contents(struct run *run) {
    struct contents contents = {};
    int r = contents_check(run->checkpoint, &contents, run->failure);

    if (r || !contents.zeros_relabelled)
        return r;
    return run_event(run, WIRE_EVENT_JOB_WARNING,
                     json_pack("{s:s s:s}", "code", "zeros_relabelled", "detail",
                               run->checkpoint->config.quantization.v2
                                   ? "the model says checkpoint_format gptq, but its zeros are "
                                     "those of gptq_v2, and are read so"
                                   : "the model says checkpoint_format gptq_v2, but its zeros are "
                                     "those of gptq, and are read so"));
}

int load_inputs(struct run *run) {
    int r;

    r = open_model(run);
    if (!r)
        r = check_model(run->checkpoint, run->params, run->failure);
    if (!r)
        r = check_tokenizer(job_model_root(run->job), run->job->model_dir, run->params->model,
                            &run->tokenizer, run->failure);
    run->seqlen = r ? 0 : check_seqlen(&run->checkpoint->config, run->params);
    if (!r)
        r = check_contents(run);
    if (!r && params_calibrates(run->params))
        r = read_calibration(run);
    for (int i = 0; i < run->params->n_eval && !r; i++) {
        run->n_evals = i + 1;
        run->evals[i].name = run->params->eval[i];
        r = run_cancelled(run);
        if (!r)
            r = read_eval(run, &run->evals[i]);
    }
    if (!r)
        r = original_open(run);
    if (!r && fingerprint_is_known(run->hashing))
        return work_learn_fingerprint(run, true);
    return r ? r : load_report_facts(run);
}
