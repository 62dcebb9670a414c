// SPDX-License-Identifier: Apache-2.0
/*
 * Quantizes layer after layer. The hidden states of all calibration windows stand in device
 * memory; a layer's first pass gathers the Hessians, then its matrices are solved, and the second
 * pass, with the quantized weights, makes the next layer's input (arXiv 2210.17323, section 4).
 * What a pass has computed with weights that stay as they are is not computed again by the next.
 * Against drift the hidden states of the original model go along, with its own weights: what the
 * inputs of a matrix are there is gathered beside the Hessian (arXiv 2504.02692).
 */
#include "base/clock.h"
#include "daemon/pipeline/grams.h"
#include "daemon/pipeline/run.h"
#include "daemon/pipeline/side.h"
#include "daemon/pipeline/solver.h"
#include "daemon/pipeline/writer.h"

#include <errno.h>

enum { QUANTIZED, ORIGINAL, N_SIDES };

struct quantizer {
    struct run *run;
    struct backend *b;
    struct layer_weights layers[2]; /* the one at work and, on a device that streams, the next */
    int staged;                     /* the layer that is staged in the other one; -1: none */
    struct layer_weights original;  /* the one at work as it was; only against drift */
    struct span shared;             /* of works and solver, which take turns */
    struct span kept;               /* of the solver; it lasts until the layer is handed over */
    struct solver solver;
    struct made_layer made;
    struct writer writer;
    struct side sides[N_SIDES]; /* run_sides() of them */
    struct grams grams;
};

/* ---- memory ---- */

static int calibration_alloc(struct quantizer *q) {
    struct run *run = q->run;
    int r;

    r = grams_init(&q->grams, run, run->calibration->n, run_sides(run) > ORIGINAL);
    for (int i = 0; i < run_sides(run) && !r; i++)
        r = side_init(&q->sides[i], run);
    if (!r && run_sides(run) > ORIGINAL)
        r = layer_weights_alloc(q->b, &run->checkpoint->config, &q->original);
    return r;
}

/* Memory of @layer's weights. */
static struct layer_weights *layer_of(struct quantizer *q, int layer) {
    return &q->layers[q->b->ops->streams ? layer % 2 : 0];
}

/* Of the work of one side. */
static size_t work_size(const struct run *run) {
    return forward_work_size(&run->checkpoint->config, dtype_size(run->b->ops->act),
                             run->batch * run->seqlen);
}

/*
 * A pass and the solver never run at the same time, and leave nothing in their memory. SIZE_MAX
 * when it does not fit.
 */
static size_t shared_size(const struct run *run) {
    size_t works = 0;

    if (run->calibration && checked_mul(work_size(run), (size_t)run_sides(run), &works))
        return SIZE_MAX;
    return MAX(works, solver_size(run));
}

static int shared_alloc(struct quantizer *q) {
    struct run *run = q->run;
    int r;

    r = q->b->ops->alloc(q->b, shared_size(run), &q->shared);
    if (!r)
        r = q->b->ops->alloc(q->b, keeper_size(run), &q->kept);
    if (r)
        return r;
    solver_init(&q->solver, run, q->shared, q->kept);
    for (int i = 0; run->calibration && i < run_sides(run) && !r; i++)
        r = forward_work_init(
            &run->checkpoint->config, dtype_size(q->b->ops->act), run->batch * run->seqlen,
            span_slice(q->shared, i * work_size(run), work_size(run)), &q->sides[i].work);
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
    made_layer_done(&q->made);
    writer_done(&q->writer);
    grams_done(&q->grams, q->b);
    for (int i = 0; i < N_SIDES; i++)
        side_done(&q->sides[i], q->b);
    q->b->ops->free(q->b, &q->kept);
    q->b->ops->free(q->b, &q->shared);
    layer_weights_free(q->b, &q->original);
    for (size_t i = 0; i < ARRAY_SIZE(q->layers); i++)
        layer_weights_free(q->b, &q->layers[i]);
}

size_t quantize_more_size(const struct run *run, bool all) {
    return sides_left_size(run, all);
}

size_t quantize_size(const struct run *run) {
    const struct model_config *c = &run->checkpoint->config;
    size_t act = dtype_size(run->b->ops->act), total = 0;
    int layers = (run->b->ops->streams ? 2 : 1) + run_sides(run) - 1;
    bool failed = false;

    for (int i = 0; i < layers; i++)
        failed |= checked_add(total, layer_weights_size(c, act), &total);
    failed |= checked_add(total, shared_size(run), &total);
    failed |= checked_add(total, keeper_size(run), &total);
    if (run->calibration) {
        failed |= checked_add(total, grams_size(run, run_sides(run) > ORIGINAL), &total);
        failed |= checked_add(total, run_sides(run) * side_size(run), &total);
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

static int take_input(void *ctx, enum group group, struct span x, struct span x0,
                      const int32_t *offsets) {
    struct gather *gather = ctx;

    if (group < gather->first || group > gather->last)
        return 0;
    return grams_add(&gather->q->grams, gather->q->run, group, x, x0, offsets);
}

/* The weights of @layer on side @i. */
static const struct layer_weights *weights_of_side(struct quantizer *q, int i, int layer) {
    return i == ORIGINAL ? &q->original : layer_of(q, layer);
}

/* Runs @count windows from @first on through what is left of the layer, each side by itself. */
static int advance_windows(struct quantizer *q, int layer, int first, int count) {
    struct run *run = q->run;
    size_t window = run_window_bytes(run);
    int r = 0;

    for (int i = 0; i < run_sides(run) && !r; i++) {
        struct side *side = &q->sides[i];
        struct forward_work work = side_work(side, run, first, count);

        r = layer_steps(q->b, &run->checkpoint->config, weights_of_side(q, i, layer), &work,
                        span_slice(side->x, first * window, count * window), count, run->seqlen,
                        side->at, NULL);
    }
    return r;
}

/*
 * Does the look of @gather take a side along for good? The weights of the original do not change;
 * of the quantized model those before the groups that are gathered are final.
 */
static bool is_final(const struct gather *gather, int side) {
    return side == ORIGINAL || gather->q->run->params->true_sequential;
}

/* The step from which the look goes on. */
static enum step first_step(const struct gather *gather) {
    const struct side *side = &gather->q->sides[QUANTIZED];

    return gather->first == GROUP_GATE_UP && side->left.attention.at ? STEP_ATTENDED : side->at;
}

/* Where side @i stands after the look. */
static enum step last_step(const struct gather *gather, int i) {
    if (gather->last < GROUP_GATE_UP || !is_final(gather, i))
        return STEP_QKV;
    return gather->last == GROUP_DOWN && gather->q->sides[i].left.activations.at ? STEP_END
                                                                                 : STEP_GATE_UP;
}

/* The hidden states of side @i to look with: a copy, unless they may go along. */
static int prepare_side(const struct gather *gather, int i, int first, int count,
                        struct span *ret_x) {
    struct quantizer *q = gather->q;
    struct side *side = &q->sides[i];
    size_t window = run_window_bytes(q->run);
    struct span x = span_slice(side->x, first * window, count * window);

    *ret_x = is_final(gather, i) ? x : span_slice(side->batch, 0, count * window);
    return is_final(gather, i) ? 0 : q->b->ops->copy(q->b, *ret_x, x);
}

/* Looks at what the inputs are within the layer, both sides step by step. */
static int gather_windows(struct quantizer *q, int layer, int first, int count,
                          struct gather *gather) {
    struct run *run = q->run;
    struct forward_work works[N_SIDES];
    struct span x[N_SIDES] = {};
    int r = 0;

    for (int i = 0; i < run_sides(run) && !r; i++) {
        works[i] = side_work(&q->sides[i], run, first, count);
        r = prepare_side(gather, i, first, count, &x[i]);
    }
    const struct forward_side original = {weights_of_side(q, ORIGINAL, layer), &works[ORIGINAL],
                                          x[ORIGINAL]};
    const struct forward_tap tap = {take_input, gather, gather->last,
                                    run_sides(run) > ORIGINAL ? &original : NULL};

    return r ? r
             : layer_steps(q->b, &run->checkpoint->config, layer_of(q, layer), &works[QUANTIZED],
                           x[QUANTIZED], count, run->seqlen, first_step(gather), &tap);
}

/*
 * Runs all windows through the layer, or, with @gather, as far as it looks. The layer that was made
 * is handed over while the second ones are computed. Nothing here waits for the device, but the
 * experts' dispatch() does in every batch: so little is queued that a cancelled job soon stops.
 */
static int pass(struct quantizer *q, int layer, struct gather *gather) {
    struct run *run = q->run;
    double share = (gather ? gather_share(gather) : 1) * run_sides(run);
    int n = run->calibration->n;

    for (int first = 0; first < n; first += run->batch) {
        int count = MIN(run->batch, n - first), r = run_cancelled(run);

        if (!r)
            r = gather ? gather_windows(q, layer, first, count, gather)
                       : advance_windows(q, layer, first, count);
        /* Fetching codes takes about as long as a batch; weights are many times as large. */
        if (!r && (run->params->format->of_weights ? first + count == n : first > 0))
            r = writer_take(&q->writer, q->run, &q->made);
        /* While the device computes: recording a layer waits for the disk. */
        if (!r)
            r = writer_poll(&q->writer, run);
        if (!r)
            r = progress_add(&run->progress, count * share);
        if (r)
            return r;
    }
    return 0;
}

static int gather_inputs(struct quantizer *q, int layer, enum group first, enum group last) {
    struct gather gather = {q, first, last};
    int r = grams_clear(&q->grams, q->run, first, last);

    if (!r)
        r = pass(q, layer, &gather);
    for (int i = 0; i < N_SIDES; i++)
        q->sides[i].at = last_step(&gather, i);
    return r;
}

/* The rest of the layer: the next one's input. */
static int finish_pass(struct quantizer *q, int layer) {
    int r = pass(q, layer, NULL);

    for (int i = 0; i < N_SIDES; i++)
        q->sides[i].at = STEP_QKV;
    return r;
}

/* ---- one layer ---- */

/*
 * All four groups from one pass over the unquantized layer, or, true_sequential, each from a pass
 * of its own over what was quantized before it.
 */
static int solve_layer(struct quantizer *q, int layer, json_t *matrices) {
    struct run *run = q->run;
    int r = 0;

    if (run->calibration && !run->params->true_sequential)
        r = gather_inputs(q, layer, 0, N_GROUPS - 1);
    for (int i = 0; i < N_GROUPS && !r; i++) {
        if (run->params->true_sequential)
            r = gather_inputs(q, layer, i, i);
        if (!r)
            r = run_cancelled(run);
        if (!r)
            r = solver_group(&q->solver, run, layer, i, layer_of(q, layer)->matrices[i],
                             run->calibration ? &q->grams.of[i] : NULL, &q->made.kept, matrices);
    }
    return r;
}

static const struct quantization_config plain = {};

/* The weights of @layer as this run continues from them. */
static struct weights_source source_of(const struct run *run, int layer) {
    if (layer < run->n_finished)
        return run_source(run);
    return (struct weights_source){run->checkpoint, &plain, NULL};
}

/* Quantizes @layer in place; what is to be written goes to q->made. */
static int quantize_layer(struct quantizer *q, int layer) {
    struct run *run = q->run;
    cleanup(json_decrefp) json_t *matrices = json_array();
    const struct weights_source source = source_of(run, layer);
    struct layer_codes *codes = &q->made.kept.codes;
    double started = clock_monotonic();
    int r;

    if (!matrices)
        return failure_oom(run->failure);
    solver_begin_layer(&q->solver);
    r = layer_codes_add_plain(codes, &source, layer, run->failure);
    if (!r)
        r = layer_codes_add_left(codes, &source, &run->quantization, layer, run->failure);
    if (!r)
        r = solve_layer(q, layer, matrices);
    if (r)
        return r;
    q->made.layer = layer;
    q->made.report = json_pack("{s:i s:f s:O}", "layer", layer, "seconds",
                               clock_monotonic() - started, "matrices", matrices);
    q->made.there = q->made.report != NULL;
    return q->made.there ? progress_add(&run->progress, method_solve_units(run->params->method,
                                                                           run->params->refine))
                         : failure_oom(run->failure);
}

/*
 * The weights of @layer as they are in the model, beside those that layer_of() has: a copy of
 * these, as long as none is quantized.
 */
static int bring_original(struct quantizer *q, int layer) {
    struct run *run = q->run;
    const struct weights_source model = {run->checkpoint, &plain, NULL};

    if (run_sides(run) == ORIGINAL)
        return 0;
    if (layer >= run->n_finished)
        return q->b->ops->copy(q->b, q->original.all, layer_of(q, layer)->all);
    return layer_weights_load(q->b, &model, layer, &q->original, NULL, run->failure);
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
    if (!r)
        r = bring_original(q, layer);
    if (r || !q->b->ops->streams || next < run->n_finished || next == run_layers(run))
        return r;
    r = q->b->ops->sync(q->b); /* the work on the layer before is done */
    q->staged = next;
    return r ? r
             : layer_weights_stage(q->b, &next_source, next, layer_of(q, next), NULL, run->failure);
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
        r = quantize_layer(q, layer);
    if (!r)
        r = run_check_model(run);
    if (!r)
        r = work_learn_fingerprint(run, false);
    if (!r)
        r = rest_poll(run);
    if (!r && run->calibration && !last)
        r = finish_pass(q, layer);
    return r ? r : writer_take(&q->writer, q->run, &q->made);
}

static int embed_calibration(struct quantizer *q) {
    struct outer_weights ends = {};
    struct run *run = q->run;
    int r;

    r = progress_phase(&run->progress, PHASE_CALIBRATE);
    if (!r)
        r = outer_weights_load(q->b, run->checkpoint, false, false, &ends, run->failure);
    if (!r)
        r = embed_windows(run, q->sides[QUANTIZED].x, &ends, run->calibration->ids,
                          run->calibration->n, run->seqlen);
    if (!r && run_sides(run) > ORIGINAL)
        r = q->b->ops->copy(q->b, q->sides[ORIGINAL].x, q->sides[QUANTIZED].x);
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
        r = sides_leave(q.sides, run);
    if (!r)
        r = progress_phase(&run->progress, PHASE_QUANTIZE);
    for (int i = 0; i < run_layers(run) && !r; i++)
        r = advance(&q, i);
    if (!r)
        r = writer_finish(&q.writer, run);
    quantizer_done(&q);
    return r;
}
