// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/estimate/estimate.h"

#include "base/str.h"
#include "daemon/pipeline/params/check.h"
#include "daemon/pipeline/params/schemes.h"
#include "daemon/pipeline/run.h"
#include "daemon/pipeline/writer.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>

/* A backend that is not open, a run that reads nothing. */
struct still {
    struct backend backend;
    struct windows calibration, evals[PARAMS_EVALS_MAX];
    struct run run;
    struct schemes *schemes; /* owned */
};

/* ---- the windows ---- */

static int count_set(const struct estimate_request *request, const struct tokenizer *tokenizer,
                     const char *tokenizer_path, int i, struct estimate *e,
                     struct failure *failure) {
    int r = counts_windows(request->counts, request->corpora, request->params->eval[i], tokenizer,
                           tokenizer_path, e->shape.seqlen, &e->windows[i], failure);

    if (r && r != -ENOMEM) {
        if (failure && !failure->field[0])
            snprintf(failure->field, sizeof(failure->field), "eval");
        return r == -ENODATA || r == -EBADMSG ? -EINVAL : r;
    }
    if (r)
        return r;
    e->all_windows &= e->windows[i] >= 0;
    e->shape.evaluation += MAX(e->windows[i], 0);
    return 0;
}

static int count_sets(const struct estimate_request *request, struct estimate *e,
                      struct failure *failure) {
    const struct params *p = request->params;
    cleanup(freep) char *path = str_format("%s/tokenizer.json", request->dir);
    cleanup(tokenizer_freep) struct tokenizer *tokenizer = NULL;
    int r;

    e->all_windows = true;
    if (p->n_eval == 0)
        return 0;
    if (!path)
        return failure_oom(failure);
    r = check_tokenizer(request->root, request->dir, p->model, &tokenizer, failure);
    for (int i = 0; i < p->n_eval && !r; i++) {
        e->n_evals = i + 1;
        r = count_set(request, tokenizer, path, i, e, failure);
    }
    return r;
}

/* ---- memory ---- */

/* What a set that is not here may have at most. */
static int windows_or_most(int n) {
    return n >= 0 ? n : INT_MAX;
}

static int make_still(const struct estimate_request *request, const struct estimate *e,
                      struct checkpoint *checkpoint, struct still *still, struct failure *failure) {
    const struct params *p = request->params;
    struct run *run = &still->run;

    *still = (struct still){.backend.ops = request->ops};
    *run = (struct run){.params = p,
                        .b = &still->backend,
                        .checkpoint = checkpoint,
                        .quantizes = e->shape.quantizes,
                        .quantization = request->kind == JOB_QUANTIZE && p->wbits != 16
                                            ? params_quantization(p)
                                            : checkpoint->config.quantization,
                        .n_evals = e->n_evals,
                        .seqlen = e->shape.seqlen};
    if (e->shape.calibration > 0) {
        still->calibration = (struct windows){.n = p->nsamples, .seqlen = run->seqlen};
        run->calibration = &still->calibration;
    }
    for (int i = 0; i < e->n_evals; i++) {
        still->evals[i] =
            (struct windows){.n = windows_or_most(e->windows[i]), .seqlen = run->seqlen};
        run->evals[i] = (struct eval_set){.name = p->eval[i], .windows = &still->evals[i]};
    }
    return e->shape.quantizes ? rules_schemes(p, &checkpoint->config, &still->schemes, failure) : 0;
}

/*
 * Beside what a run has on the cpu as its device: the codes of the layer that is solved, those of
 * the layers on their way to the disk with the tensors that are made of them, and the windows.
 */
static size_t host_size(const struct estimate *e, const struct run *run) {
    double windows = e->shape.calibration + e->shape.evaluation;
    size_t layer = run->quantizes ? e->disk / (size_t)e->shape.layers : 0;
    size_t on_their_way = MAX(layer, MIN(WRITER_LAYERS_MAX * 2 * layer, run_host_memory()));

    return layer + on_their_way + (size_t)(windows * run->seqlen) * sizeof(int32_t) +
           (str_equal(run->b->ops->name, "cpu") ? e->device : 0);
}

/* ---- files ---- */

struct plain_size {
    const struct checkpoint *checkpoint;
    size_t bytes;
};

static int add_plain(void *ctx, const struct arch_tensor *tensor, int layer, int expert) {
    struct plain_size *plain = ctx;
    char name[MATRIX_NAME_SIZE];
    const struct tensor *t;

    if (tensor->role == ROLE_MATRIX)
        return 0;
    arch_name(tensor->name, layer, expert, name);
    t = checkpoint_find(plain->checkpoint, "%s.weight", name);
    plain->bytes += t ? t->size : 0;
    return 0;
}

/* The tensors that are not quantized, as they are in the model. */
static size_t plain_size(const struct checkpoint *checkpoint) {
    struct plain_size plain = {.checkpoint = checkpoint};

    arch_walk(&checkpoint->config, add_plain, &plain);
    return plain.bytes;
}

/* Weights of the matrices of all layers. */
static double count_weights(const struct model_config *config) {
    double weights = 0;

    for (int i = 0; i < N_GROUPS; i++) {
        struct group_shape shape;

        group_shape(config, i, &shape);
        weights += (double)group_size(&shape) * config->num_hidden_layers;
    }
    return weights;
}

/* The matrices of all layers in @format. */
static size_t matrices_size(const struct format_ops *format, const struct model_config *config,
                            const struct quantization_config *q) {
    double bits = format->bits_per_weight(config, q);

    return (size_t)(count_weights(config) * (bits > 0 ? bits : 16) / 8);
}

size_t estimate_size(const struct format_ops *format, const struct checkpoint *checkpoint,
                     const struct quantization_config *q) {
    if (format->size)
        return format->size(&checkpoint->config, q);
    return matrices_size(format, &checkpoint->config, q) + plain_size(checkpoint);
}

/* What the bits of a plan add to those of @p->wbits: which matrices get them is not known. */
static void add_planned(const struct params *p, const struct model_config *config,
                        struct estimate *e) {
    double more = p->target_bits - p->wbits;

    e->bits_per_weight += more;
    e->size += (size_t)(count_weights(config) * more / 8);
}

static void estimate_files(const struct estimate_request *request, struct run *run,
                           struct estimate *e) {
    const struct format_ops *format = request->params->format;
    const struct model_config *config = &run->checkpoint->config;
    size_t plain = plain_size(run->checkpoint);

    e->bits_per_weight = format->bits_per_weight(config, &run->quantization);
    e->size = estimate_size(format, run->checkpoint, &run->quantization);
    if (request->params->target_bits > request->params->wbits && e->bits_per_weight > 0)
        add_planned(request->params, config, e);
    e->disk = e->size;
    /* Layers in work/ that are not the format's are kept beside it, as codes. */
    if (request->kind == JOB_QUANTIZE && !format->reader)
        e->disk += matrices_size(&format_neutral, config, &run->quantization) + plain;
}

/* ---- all ---- */

struct work work_of(const struct work_shape *shape) {
    double unit = shape->seqlen * shape->parameters / MAX(shape->layers, 1);
    struct work work = {.rest = shape->parameters};

    if (shape->quantizes)
        work.quantize = unit * progress_quantize_units(
                                   shape->layers, shape->calibration * (shape->drift ? 2 : 1),
                                   method_solve_units(shape->method, shape->refine));
    work.evaluate =
        unit * progress_evaluate_units(shape->layers, shape->evaluation, shape->compares);
    return work;
}

static void shape_of(const struct estimate_request *request, const struct model_config *config,
                     struct work_shape *ret_shape) {
    const struct params *p = request->params;

    *ret_shape = (struct work_shape){
        .layers = config->num_hidden_layers,
        .hidden_size = config->hidden_size,
        .parameters = (double)arch_n_parameters(config),
        .seqlen = check_seqlen(config, p),
        .quantizes = request->kind == JOB_QUANTIZE && p->wbits != 16 && !p->plan_only,
        .compares = p->difference && (p->wbits != 16 || config->quantization.present),
        .method = p->method,
        .refine = p->refine,
    };
    if (request->kind == JOB_QUANTIZE && params_calibrates(p))
        ret_shape->calibration = p->nsamples;
    ret_shape->drift = ret_shape->calibration > 0 && p->drift > 0;
}

/* @size bytes are taken if the device has them. */
static void add_optional(const struct estimate_request *request, size_t size, struct estimate *e) {
    if (size > e->device && (request->memory_total == 0 || batch_fits(size, request->memory_total)))
        e->device = size;
}

/* What the phases take of that which the device has left. */
static void add_more(const struct estimate_request *request, const struct run *run,
                     struct estimate *e) {
    size_t size = evaluate_size(run);

    if (e->shape.compares)
        size += comparison_size(run, !run->quantizes);
    for (int all = 0; run->quantizes && all < 2; all++)
        add_optional(request, quantize_size(run) + quantize_more_size(run, all), e);
    if (e->n_evals > 0)
        add_optional(request, size, e);
    if (e->n_evals > 0)
        add_optional(request, size + evaluate_more_size(run, e->shape.compares), e);
}

/* The model, or, for an export, the codes that a job left. */
static int open_source(const struct estimate_request *request, struct checkpoint **ret_checkpoint,
                       struct failure *failure) {
    cleanup(freep) char *codes = NULL;

    if (request->kind != JOB_EXPORT)
        return check_open(request->root, request->dir, request->params, ret_checkpoint, failure);
    codes = check_codes_dir(request->dir);
    return codes ? checkpoint_open(codes, codes, ret_checkpoint, failure) : failure_oom(failure);
}

int estimate_make(const struct estimate_request *request, struct estimate *ret_estimate,
                  struct failure *failure) {
    cleanup(checkpoint_freep) struct checkpoint *checkpoint = NULL;
    cleanup(freep) struct schemes *schemes = NULL;
    struct estimate e = {};
    struct still still;
    int r = open_source(request, &checkpoint, failure);

    if (r)
        return r;
    shape_of(request, &checkpoint->config, &e.shape);
    r = count_sets(request, &e, failure);
    if (r)
        return r;
    r = make_still(request, &e, checkpoint, &still, failure);
    schemes = still.schemes;
    if (r)
        return r;
    if (schemes)
        still.run.quantization.schemes = schemes;
    if (request->ops && request->kind != JOB_EXPORT) {
        e.device = plan_batch(&still.run, 0, request->memory_total);
        e.fits = request->memory_total == 0 || batch_fits(e.device, request->memory_total);
        e.batch = still.run.batch;
        add_more(request, &still.run, &e);
    }
    if (e.shape.quantizes || request->kind == JOB_EXPORT)
        estimate_files(request, &still.run, &e);
    if (e.device)
        e.host = host_size(&e, &still.run);
    *ret_estimate = e;
    return 0;
}
