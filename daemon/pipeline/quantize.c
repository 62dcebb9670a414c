// SPDX-License-Identifier: Apache-2.0
/*
 * Quantizes layer after layer. The hidden states of all calibration windows stand in device
 * memory; a layer's first pass gathers the Hessians, then its matrices are solved, and the second
 * pass, with the quantized weights, makes the next layer's input (arXiv 2210.17323, section 4).
 */
#include "base/clock.h"
#include "daemon/pipeline/run.h"
#include "daemon/pipeline/solver.h"
#include "daemon/pipeline/writer.h"

#include <errno.h>
#include <string.h>

/* A stack that saw less than this share of its fair share of tokens is rounded to nearest. */
#define TOKENS_LEAST 0.005

struct quantizer {
    struct run *run;
    struct backend *b;
    struct layer_weights layers[2]; /* the one at work and, on a device that streams, the next */
    int staged;                     /* the layer that is staged in the other one; -1: none */
    struct span shared;             /* of work and solver, which take turns */
    struct forward_work work;
    struct solver solver;
    struct writer writer;
    struct span x;     /* [windows, seqlen, d] act: the hidden states; empty without calibration */
    struct span batch; /* [batch, seqlen, d] act: a copy to run ahead with */
    struct span grams;
    struct gram gram[N_GROUPS];
};

/* ---- memory ---- */

static void grams_layout(struct quantizer *q, struct arena *arena) {
    for (int i = 0; i < N_GROUPS; i++) {
        struct group_shape shape;

        group_shape(&q->run->checkpoint->config, i, &shape);
        arena_take(arena, &q->gram[i].h, sizeof(float), (size_t)shape.G * shape.n, shape.n);
    }
}

static int grams_alloc(struct quantizer *q) {
    const struct model_config *c = &q->run->checkpoint->config;
    uint64_t tokens = (uint64_t)q->run->calibration->n * q->run->seqlen;
    struct arena arena = {};
    int r;

    for (int i = 0; i < N_GROUPS; i++) {
        struct group_shape shape;

        group_shape(c, i, &shape);
        q->gram[i].tokens = calloc(shape.G, sizeof(uint64_t));
        if (!q->gram[i].tokens)
            return failure_oom(q->run->failure);
        if (shape.experts)
            q->gram[i].least_tokens =
                1 + (uint64_t)(TOKENS_LEAST * tokens * c->num_experts_per_tok / c->num_experts);
    }
    grams_layout(q, &arena);
    r = arena_alloc(q->b, &arena, &q->grams);
    if (!r)
        grams_layout(q, &arena);
    return r;
}

static int calibration_alloc(struct quantizer *q) {
    struct run *run = q->run;
    size_t window = run_window_bytes(run);
    int r;

    r = grams_alloc(q);
    if (!r)
        r = q->b->ops->alloc(q->b, run->calibration->n * window, &q->x);
    if (!r)
        r = q->b->ops->alloc(q->b, run->batch * window, &q->batch);
    return r;
}

/* Memory of @layer's weights. */
static struct layer_weights *layer_of(struct quantizer *q, int layer) {
    return &q->layers[q->b->ops->streams ? layer % 2 : 0];
}

/* A pass and the solver never run at the same time, and leave nothing in their memory. */
static size_t shared_size(const struct run *run) {
    size_t work = run->calibration
                      ? forward_work_size(&run->checkpoint->config, dtype_size(run->b->ops->act),
                                          run->batch * run->seqlen)
                      : 0;

    return MAX(work, solver_size(run));
}

static int shared_alloc(struct quantizer *q) {
    struct run *run = q->run;
    int r;

    r = q->b->ops->alloc(q->b, shared_size(run), &q->shared);
    if (r)
        return r;
    solver_init(&q->solver, run, q->shared);
    if (!run->calibration)
        return 0;
    r = forward_work_init(&run->checkpoint->config, dtype_size(q->b->ops->act),
                          run->batch * run->seqlen, q->shared, &q->work);
    return r ? failure_oom(run->failure) : 0;
}

static int quantizer_init(struct quantizer *q, struct run *run) {
    int r = 0;

    *q = (struct quantizer){.run = run, .b = run->b, .staged = -1};
    for (int i = 0; i < (run->b->ops->streams ? 2 : 1) && !r; i++)
        r = layer_weights_alloc(q->b, &run->checkpoint->config, &q->layers[i]);
    if (!r)
        r = shared_alloc(q);
    if (!r && run->calibration)
        r = calibration_alloc(q);
    return r;
}

static void quantizer_done(struct quantizer *q) {
    q->b->ops->stage_wait(q->b); /* nothing may still read the model or write to its memory */
    q->b->ops->fetch_wait(q->b);
    writer_done(&q->writer);
    for (int i = 0; i < N_GROUPS; i++)
        free(q->gram[i].tokens);
    q->b->ops->free(q->b, &q->grams);
    q->b->ops->free(q->b, &q->batch);
    q->b->ops->free(q->b, &q->x);
    forward_work_done(&q->work);
    q->b->ops->free(q->b, &q->shared);
    for (size_t i = 0; i < ARRAY_SIZE(q->layers); i++)
        layer_weights_free(q->b, &q->layers[i]);
}

size_t quantize_size(const struct run *run) {
    const struct model_config *c = &run->checkpoint->config;
    size_t act = dtype_size(run->b->ops->act), window = run_window_bytes(run), total = 0;
    struct quantizer q = {.run = (struct run *)run};
    struct arena arena = {};
    bool failed = false;

    for (int i = 0; i < (run->b->ops->streams ? 2 : 1); i++)
        failed |= checked_add(total, layer_weights_size(c, act), &total);
    failed |= checked_add(total, shared_size(run), &total);
    if (run->calibration) {
        grams_layout(&q, &arena);
        failed |= checked_add(total, arena_size(&arena), &total);
        failed |= checked_add(total, window * (run->calibration->n + run->batch), &total);
        failed |= checked_add(total, outer_weights_size(c, act, false), &total);
    }
    return failed ? SIZE_MAX : total;
}

/* ---- passes over the windows ---- */

/* What a gathering pass is after: the groups from `first` to `last`. */
struct gather {
    struct quantizer *q;
    enum group first, last;
};

/* The share of a gathering pass over all groups. */
static double gather_share(const struct gather *gather) {
    return (double)(gather->last - gather->first + 1) / N_GROUPS;
}

static int take_input(void *ctx, enum group group, struct span x, const int32_t *offsets) {
    struct gather *gather = ctx;
    struct quantizer *q = gather->q;
    struct group_shape shape;

    if (group < gather->first || group > gather->last)
        return 0;
    group_shape(&q->run->checkpoint->config, group, &shape);
    for (int g = 0; g < shape.G; g++)
        q->gram[group].tokens[g] += offsets[g + 1] - offsets[g];
    return q->b->ops->hessian_add(q->b, q->gram[group].h, x, offsets, shape.G, shape.n);
}

/* Runs all windows through the layer: with @gather on copies, else in place. */
static int pass(struct quantizer *q, int layer, struct gather *gather) {
    struct run *run = q->run;
    const struct forward_tap tap = {take_input, gather, gather ? gather->last : 0};
    int n = run->calibration->n;

    for (int first = 0; first < n; first += run->batch) {
        int count = MIN(run->batch, n - first), r = run_cancelled(run);
        size_t window = run_window_bytes(run), size = count * window;
        struct span x = span_slice(q->x, first * window, size);

        if (!r && gather) {
            r = q->b->ops->copy(q->b, span_slice(q->batch, 0, size), x);
            x = span_slice(q->batch, 0, size);
        }
        if (!r)
            r = layer_forward(q->b, &run->checkpoint->config, layer_of(q, layer), &q->work, x,
                              count, run->seqlen, gather ? &tap : NULL);
        /* Waiting here bounds how much is queued, so a cancelled job stops within a batch. */
        if (!r)
            r = q->b->ops->sync(q->b);
        if (!r)
            r = writer_poll(&q->writer, run);
        if (!r)
            r = progress_add(&run->progress, gather ? count * gather_share(gather) : count);
        if (r)
            return r;
    }
    return 0;
}

static int gather_inputs(struct quantizer *q, int layer, enum group first, enum group last) {
    struct gather gather = {q, first, last};

    for (int i = first; i <= (int)last; i++) {
        struct group_shape shape;
        int r;

        group_shape(&q->run->checkpoint->config, i, &shape);
        memset(q->gram[i].tokens, 0, shape.G * sizeof(uint64_t));
        r = q->b->ops->zero(q->b, q->gram[i].h);
        if (r)
            return r;
    }
    return pass(q, layer, &gather);
}

/* ---- one layer ---- */

/*
 * All four groups from one pass over the unquantized layer, or, true_sequential, each from a pass
 * of its own over what was quantized before it.
 */
static int solve_layer(struct quantizer *q, int layer, struct layer_codes *codes,
                       json_t *matrices) {
    struct run *run = q->run;
    int r = 0;

    if (run->calibration && !run->params->true_sequential)
        r = gather_inputs(q, layer, 0, N_GROUPS - 1);
    for (int i = 0; i < N_GROUPS && !r; i++) {
        if (run->params->true_sequential)
            r = q->b->ops->fetch_wait(q->b); /* the pass takes the memory of what was packed */
        if (!r && run->params->true_sequential)
            r = gather_inputs(q, layer, i, i);
        if (!r)
            r = run_cancelled(run);
        if (!r)
            r = solver_group(&q->solver, run, layer, i, layer_of(q, layer)->matrices[i],
                             run->calibration ? &q->gram[i] : NULL, codes, matrices);
    }
    return r;
}

/* The weights of @layer as this run continues from them. */
static struct weights_source source_of(const struct run *run, int layer) {
    static const struct quantization_config plain = {};

    if (layer < run->n_finished)
        return run_source(run);
    return (struct weights_source){run->checkpoint, &plain, NULL};
}

/* Quantizes @layer in place; what is to be written goes to @codes and @ret_report. */
static int quantize_layer(struct quantizer *q, int layer, struct layer_codes *codes,
                          json_t **ret_report) {
    struct run *run = q->run;
    cleanup(json_decrefp) json_t *matrices = json_array();
    const struct weights_source source = source_of(run, layer);
    double started = clock_monotonic();
    int r;

    if (!matrices)
        return failure_oom(run->failure);
    solver_begin_layer(&q->solver);
    r = layer_codes_add_plain(codes, &source, layer, run->failure);
    if (!r)
        r = layer_codes_add_left(codes, &source, &run->quantization, layer, run->failure);
    if (!r)
        r = solve_layer(q, layer, codes, matrices);
    if (r)
        return r;
    *ret_report = json_pack("{s:i s:f s:O}", "layer", layer, "seconds", clock_monotonic() - started,
                            "matrices", matrices);
    return *ret_report ? progress_add(&run->progress, run->params->method->solve_units)
                       : failure_oom(run->failure);
}

/* Has the weights of @layer ready, and those of the next one, if unquantized, on their way. */
static int bring_layer(struct quantizer *q, int layer) {
    struct run *run = q->run;
    struct weights_source source = source_of(run, layer), next_source = source_of(run, layer + 1);
    int r = 0, next = layer + 1;

    if (q->staged != layer)
        r = layer_weights_stage(q->b, &source, layer, layer_of(q, layer), &q->solver.codes,
                                run->failure);
    if (!r)
        r = layer_weights_ready(q->b, &source, layer, layer_of(q, layer), run->failure);
    if (r || !q->b->ops->streams || next < run->n_finished || next == run_layers(run))
        return r;
    r = q->b->ops->sync(q->b); /* the work on the layer before is done */
    q->staged = next;
    return r ? r
             : layer_weights_stage(q->b, &next_source, next, layer_of(q, next), NULL, run->failure);
}

/* Quantizes @layer and hands it to the writer. */
static int make_layer(struct quantizer *q, int layer) {
    cleanup(json_decrefp) json_t *report = NULL;
    cleanup(layer_codes_done) struct layer_codes codes = {};
    int r, waited;

    r = quantize_layer(q, layer, &codes, &report);
    waited = q->b->ops->fetch_wait(q->b); /* also when it failed: the layer goes away */
    if (!r)
        r = waited;
    return r ? r : writer_start(&q->writer, q->run, layer, &codes, steal_ptr(report));
}

static int advance(struct quantizer *q, int layer) {
    struct run *run = q->run;
    bool finished = layer < run->n_finished, last = layer == run_layers(run) - 1;
    int r;

    run->progress.layer = layer;
    if (finished && !run->calibration)
        return 0;
    r = bring_layer(q, layer);
    if (!r && !finished)
        r = make_layer(q, layer);
    if (!r)
        r = run_check_model(run);
    if (!r)
        r = work_learn_fingerprint(run, false);
    if (!r && run->calibration && !last)
        r = pass(q, layer, NULL);
    return r;
}

static int embed_calibration(struct quantizer *q) {
    struct outer_weights ends = {};
    struct run *run = q->run;
    int r;

    r = progress_phase(&run->progress, PHASE_CALIBRATE);
    if (!r)
        r = outer_weights_load(q->b, run->checkpoint, false, &ends, run->failure);
    if (!r)
        r = embed_windows(run, q->x, &ends, run->calibration->ids, run->calibration->n,
                          run->seqlen);
    outer_weights_free(q->b, &ends);
    return r;
}

int quantize_layers(struct run *run) {
    struct quantizer q;
    int r;

    if (run->n_finished == run_layers(run))
        return 0;
    r = quantizer_init(&q, run);
    if (!r && run->calibration)
        r = embed_calibration(&q);
    if (!r)
        r = progress_phase(&run->progress, PHASE_QUANTIZE);
    for (int i = 0; i < run_layers(run) && !r; i++)
        r = advance(&q, i);
    if (!r)
        r = writer_finish(&q.writer, run);
    quantizer_done(&q);
    return r;
}
