// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/export/reexport.h"

#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "daemon/model/arch/config_read.h"
#include "daemon/model/arch/scheme.h"
#include "daemon/pipeline/params/check.h"
#include "daemon/pipeline/params/param.h"
#include "daemon/pipeline/params/request.h"
#include "daemon/pipeline/params/schemes.h"
#include "daemon/pipeline/run.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define QUANTD_JSON_MAX (64 << 20)

static int no_codes(struct failure *failure) {
    return failure_field(failure, "model",
                         "export the job that quantized the model, or quantize it again",
                         "the job keeps no codes that another format could be written from");
}

/* Can the format of @params hold the codes, with the tokenizer of the folder @artifact? */
static int check_codes(const struct params *params, const struct quantization_config *q,
                       const struct model_config *config, const char *artifact,
                       struct failure *failure) {
    const struct format_ops *format = params->format;
    int r = params_check(params, q, config, failure);

    return r || !format->check_files ? r : format->check_files(artifact, artifact, config, failure);
}

int reexport_check(const char *artifact, const struct params *params, struct failure *failure) {
    cleanup(freep) char *dir = check_codes_dir(artifact);
    cleanup(model_config_done) struct model_config config = {};
    int r;

    if (!dir)
        return failure_oom(failure);
    r = model_config_read(dir, dir, &config, failure);
    if (r)
        return r;
    if (!config.quantization.present)
        return no_codes(failure);
    config.quantization.q8_0_ends = params->gguf_embedding == GGUF_EMBEDDING_Q8_0;
    return check_codes(params, &config.quantization, &config, artifact, failure);
}

int reexport_facts(const char *artifact, const char *fingerprint, json_t **ret_model,
                   struct failure *failure) {
    cleanup(model_config_done) struct model_config config = {};
    int r = model_config_read(artifact, artifact, &config, failure);

    if (r)
        return r;
    config.quantization.present = false; /* the model that was quantized was not yet */
    *ret_model = load_model_facts(&config, fingerprint);
    return *ret_model ? 0 : failure_oom(failure);
}

int reexport_set_own(const struct params *own, json_t *params) {
    static const char *const names[] = {"format", "gguf_embedding", "for"};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (json_object_set_new(params, names[i], param_to_json(param_find(names[i]), own)))
            return -ENOMEM;
    }
    return 0;
}

/* Figures of another embedding than the one that is saved now are not those of this checkpoint. */
static int drop_figures(struct run *run) {
    static const char *const figures[] = {"perplexity", "difference"};
    const json_t *then = json_object_get(json_object_get(run->made, "params"), "gguf_embedding");
    bool was_q8_0 = str_equal(json_string_value(then), "q8_0");

    if (was_q8_0 == (run->params->gguf_embedding == GGUF_EMBEDDING_Q8_0))
        return 0;
    for (size_t i = 0; i < ARRAY_SIZE(figures); i++) {
        if (json_object_set_new(run->made, figures[i], json_object()))
            return failure_oom(run->failure);
    }
    return 0;
}

/* The parameters of the job that made the codes, but for what is asked for now. */
static int read_params(struct run *run) {
    cleanup(json_decrefp) json_t *params = json_copy(json_object_get(run->made, "params"));
    int r;

    if (!params)
        return failure_set(run->failure, -EBADMSG, "model_invalid", "quantize the model again",
                           "quantd.json of '%s' has no parameters", run->params->model);
    if (reexport_set_own(run->params, params) ||
        json_object_set_new(params, "model", json_string(run->params->model)))
        return failure_oom(run->failure);
    json_object_del(params, "target_bits"); /* its rules are there */
    json_object_del(params, "target_unit");
    json_object_del(params, "plan_bits");
    json_object_del(params, "preset"); /* its parameters are there; it would choose `for` */
    r = params_parse(JOB_QUANTIZE, params, &run->made_params, run->failure);
    if (!r)
        run->params = run->made_params;
    return r;
}

static int read_made(struct run *run) {
    cleanup(freep) char *path = str_format("%s/quantd.json", run->job->model_dir);
    const char *fingerprint;
    int r;

    if (!path)
        return failure_oom(run->failure);
    r = json_parse_file(path, QUANTD_JSON_MAX, "model_invalid", &run->made, run->failure);
    if (!r)
        r = drop_figures(run);
    if (!r)
        r = read_params(run);
    if (r)
        return r;
    fingerprint = json_string_value(json_object_get(run->made, "model_fingerprint"));
    snprintf(run->fingerprint, sizeof(run->fingerprint), "%s", fingerprint ? fingerprint : "");
    run->seqlen = run->params->seqlen;
    return 0;
}

struct comparing {
    const struct model_config *config;
    const struct quantization_config *q;
};

/* Is the matrix otherwise in the checkpoint than as it was asked for? */
static int compare(void *ctx, const struct arch_tensor *t, int layer, int expert) {
    const struct comparing *comparing = ctx;
    const struct model_config *c = comparing->config;
    struct quantization_config is, asked;

    if (t->role != ROLE_MATRIX)
        return 0;
    is = quantization_as(&c->quantization, scheme_of(c, &c->quantization, t, layer, expert));
    asked = quantization_as(comparing->q, scheme_of(c, comparing->q, t, layer, expert));
    return is.present != asked.present ||
           (is.present && (is.wbits != asked.wbits || is.groupsize != asked.groupsize ||
                           is.sym != asked.sym || is.sub_bits != asked.sub_bits));
}

/* Does config.json of the codes say what quantd.json says? */
static bool same_codes(const struct run *run) {
    struct comparing comparing = {&run->checkpoint->config, &run->quantization};

    return arch_walk(&run->checkpoint->config, compare, &comparing) == 0;
}

static int open_codes(struct run *run) {
    cleanup(freep) char *dir = check_codes_dir(run->job->model_dir);
    const struct quantization_config *q;
    int r;

    if (!dir)
        return failure_oom(run->failure);
    r = checkpoint_open(dir, dir, &run->checkpoint, run->failure);
    if (r)
        return r;
    q = &run->checkpoint->config.quantization;
    run->quantization = params_quantization(run->params);
    if (!q->present)
        return no_codes(run->failure);
    r = rules_schemes(run->params, &run->checkpoint->config, &run->quantization.schemes,
                      run->failure);
    if (r)
        return r;
    if (!same_codes(run))
        return failure_set(run->failure, -EBADMSG, "model_invalid", "quantize the model again",
                           "quantd.json and config.json of '%s' do not match", run->params->model);
    return check_codes(run->params, &run->quantization, &run->checkpoint->config,
                       run->job->model_dir, run->failure);
}

int reexport_open(struct run *run) {
    int r;

    r = read_made(run);
    if (!r)
        r = open_codes(run);
    if (!r) /* all of it once more: no hash of before says what is on the disk now */
        r = checkpoint_start_hashing(run->checkpoint, NULL, &run->hashing, run->failure);
    if (!r)
        r = load_report_facts(run);
    if (r)
        return r;
    r = dir_remove(run->work_dir);
    if (!r)
        r = dir_make(run->work_dir);
    return r ? failure_errno(run->failure, r, "cannot set up", run->work_dir) : 0;
}

int reexport_check_read(struct run *run) {
    char fingerprint[SHA256_TEXT_SIZE]; /* of the codes, which says nothing of the model */
    int r = fingerprint_wait(run->hashing, fingerprint, run->failure);

    return r ? r : manifest_check(run);
}
