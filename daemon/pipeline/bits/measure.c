// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/bits/measure.h"

#include "daemon/model/arch/scheme.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#define TOKENS 4096 /* that a trial looks at; more change its figure little */

/* States 1.. are trials, in the order of units and candidates; state 0 is the model itself. */
struct measurer {
    struct run *run;
    struct backend *b;
    const struct units *units;
    int windows;                       /* of a state */
    struct layer_weights layer, trial; /* as it is; with one unit rounded */
    struct outer_weights ends;
    struct forward_work work;
    struct span all;     /* what follows is in */
    struct span memory;  /* of work */
    struct span x;       /* [states, windows, seqlen, d] act */
    struct span normed;  /* [2, windows, seqlen, d] act: the model, a trial */
    struct span targets; /* [tokens] i32, zero: nothing is predicted */
    struct span kl, nll; /* [tokens], [2, tokens] f32 */
    struct span best;    /* [2, tokens] i32 */
    struct span scratch;
    struct code_memory codes;
};

int measure_windows(const struct run *run) {
    return MAX(1, MIN(TOKENS / run->seqlen, run->calibration->n));
}

static int tokens_of(const struct measurer *m) {
    return m->windows * m->run->seqlen;
}

/* ---- memory ---- */

static void layout(const struct run *run, int n_trials, struct arena *arena, struct measurer *m) {
    const struct model_config *c = &run->checkpoint->config;
    size_t act = dtype_size(run->b->ops->act), T = (size_t)m->windows * run->seqlen;

    arena_take(arena, &m->memory, 1, 1, forward_work_size(c, act, run->batch * run->seqlen));
    arena_take(arena, &m->x, run_window_bytes(run), (size_t)n_trials + 1, m->windows);
    arena_take(arena, &m->normed, act, 2 * T, c->hidden_size);
    arena_take(arena, &m->targets, sizeof(int32_t), 1, T);
    arena_take(arena, &m->kl, sizeof(float), 1, T);
    arena_take(arena, &m->nll, sizeof(float), 2, T);
    arena_take(arena, &m->best, sizeof(int32_t), 2, T);
    arena_take(arena, &m->scratch, 1, 1,
               run->b->ops->head_difference_scratch(run->b, (int)T, c->hidden_size, c->vocab_size));
    code_memory_take(c, &run->quantization, arena, &m->codes);
}

size_t measure_size(const struct run *run) {
    const struct model_config *c = &run->checkpoint->config;
    size_t act = dtype_size(run->b->ops->act), total = 0;
    struct measurer m = {.windows = measure_windows(run)};
    struct arena arena = {};
    struct units units;
    bool failed = false;

    if (units_make(run->params, c, &units, NULL))
        return 0; /* the run is refused */
    layout(run, units_trials(&units), &arena, &m);
    failed |= checked_add(total, layer_weights_size(c, act), &total);
    failed |= checked_add(total, layer_weights_size(c, act), &total);
    failed |= checked_add(total, outer_weights_size(c, act, true), &total);
    failed |= checked_add(total, arena_size(&arena), &total);
    return failed ? SIZE_MAX : total;
}

static int measurer_init(struct measurer *m, struct run *run, const struct units *units) {
    const struct model_config *c = &run->checkpoint->config;
    size_t act = dtype_size(run->b->ops->act);
    struct arena arena = {};
    int r;

    *m =
        (struct measurer){.run = run, .b = run->b, .units = units, .windows = measure_windows(run)};
    r = layer_weights_alloc(m->b, c, &m->layer);
    if (!r)
        r = layer_weights_alloc(m->b, c, &m->trial);
    if (!r)
        r = outer_weights_load(m->b, run->checkpoint, true, false, &m->ends, run->failure);
    if (r)
        return r;
    layout(run, units_trials(units), &arena, m);
    r = arena_alloc(m->b, &arena, &m->all);
    if (r)
        return r;
    layout(run, units_trials(units), &arena, m);
    r = forward_work_init(c, act, run->batch * run->seqlen, m->memory, &m->work);
    return r ? failure_oom(run->failure) : m->b->ops->zero(m->b, m->targets);
}

static void measurer_done(struct measurer *m) {
    m->b->ops->stage_wait(m->b); /* nothing may still read the model or write to its memory */
    m->b->ops->free(m->b, &m->all);
    forward_work_done(&m->work);
    outer_weights_free(m->b, &m->ends);
    layer_weights_free(m->b, &m->trial);
    layer_weights_free(m->b, &m->layer);
}

/* ---- one layer ---- */

static struct span state(const struct measurer *m, int i) {
    size_t size = m->windows * run_window_bytes(m->run);

    return span_slice(m->x, i * size, size);
}

/* Runs states @first .. @end - 1 through @layer. */
static int pass(struct measurer *m, const struct layer_weights *layer, int first, int end) {
    struct run *run = m->run;
    size_t window = run_window_bytes(run);

    for (int at = first * m->windows; at < end * m->windows; at += run->batch) {
        int count = MIN(run->batch, end * m->windows - at), r = run_cancelled(run);

        if (!r)
            r = layer_forward(m->b, &run->checkpoint->config, layer, &m->work,
                              span_slice(m->x, at * window, count * window), count, run->seqlen,
                              NULL);
        if (!r)
            r = m->b->ops->sync(m->b);
        if (!r)
            r = progress_add(&run->progress, count);
        if (r)
            return r;
    }
    return 0;
}

/* Rounds @shape at @offset of @group, elements, from the layer to the trial. */
static int round_stacks(struct measurer *m, const struct group_shape *shape, enum group group,
                        size_t offset, int wbits) {
    const struct params *p = m->run->params;
    const struct grid grid = {.wbits = wbits,
                              .groupsize = p->groupsize > 0 ? p->groupsize : shape->n,
                              .sym = p->sym,
                              .fit = GRID_MSE};
    const struct quantized q = code_memory_view(&m->codes, shape, shape->n / grid.groupsize);
    size_t act = dtype_size(m->b->ops->act), size = group_size(shape) * act;

    return m->b->ops->rtn(m->b, &q, span_slice(m->trial.matrices[group], offset * act, size),
                          span_slice(m->layer.matrices[group], offset * act, size), &grid, shape->G,
                          shape->rows, shape->n);
}

/* The parts of @kind in @group: all stacks at once when they are all. */
static int round_group(struct measurer *m, const struct unit_kind *kind, enum group group,
                       int wbits) {
    struct group_shape shape;
    int r = 0;

    group_shape(&m->run->checkpoint->config, group, &shape);
    if (kind->parts[group] == (1u << shape.n_parts) - 1)
        return round_stacks(m, &shape, group, 0, wbits);
    for (int g = 0; g < shape.G && !r; g++) {
        for (int p = 0; p < shape.n_parts && !r; p++) {
            struct group_shape cut = group_cut(&shape, g, 1, p, 1);

            if (kind->parts[group] >> p & 1)
                r = round_stacks(
                    m, &cut, group,
                    g * group_stack_size(&shape) + (size_t)shape.parts[p].row * shape.n, wbits);
        }
    }
    return r;
}

static int restore(struct measurer *m, const struct unit_kind *kind) {
    int r = 0;

    for (int i = 0; i < N_GROUPS && !r; i++) {
        if (kind->parts[i])
            r = m->b->ops->copy(m->b, m->trial.matrices[i], m->layer.matrices[i]);
    }
    return r;
}

/* One unit at one candidate, from the states of the model to those of trial @i. */
static int try_unit(struct measurer *m, const struct unit_kind *kind, int wbits, int i) {
    int r = m->b->ops->copy(m->b, state(m, i), state(m, 0));

    for (int group = 0; group < N_GROUPS && !r; group++) {
        if (kind->parts[group])
            r = round_group(m, kind, group, wbits);
    }
    if (!r)
        r = pass(m, &m->trial, i, i + 1);
    return r ? r : restore(m, kind);
}

static int measure_layer(struct measurer *m, int layer) {
    static const struct quantization_config plain = {};
    const struct weights_source source = {m->run->checkpoint, &plain, NULL};
    const struct units *units = m->units;
    int per_layer = units->n_kinds * units->n_bits, first = 1 + layer * per_layer;
    int r = layer_weights_load(m->b, &source, layer, &m->layer, NULL, m->run->failure);

    m->run->progress.layer = layer;
    if (!r)
        r = m->b->ops->copy(m->b, m->trial.all, m->layer.all);
    for (int i = 0; i < per_layer && !r; i++)
        r = try_unit(m, &units->kinds[i / units->n_bits], units->bits[i % units->n_bits],
                     first + i);
    if (!r)
        r = pass(m, &m->layer, 0, first);
    return r ? r : run_check_model(m->run);
}

/* ---- the divergence ---- */

static int norm(struct measurer *m, int i, int side, struct head_side *ret_side) {
    const struct model_config *c = &m->run->checkpoint->config;
    int T = tokens_of(m), d = c->hidden_size;
    size_t floats = T * sizeof(float), size = (size_t)T * d * dtype_size(m->b->ops->act);

    *ret_side = (struct head_side){.x = span_slice(m->normed, side * size, size),
                                   .w = m->ends.head,
                                   .nll = span_slice(m->nll, side * floats, floats),
                                   .best = span_slice(m->best, side * floats, floats)};
    return m->b->ops->rmsnorm(m->b, ret_side->x, d, state(m, i), d, m->ends.norm, T, d,
                              c->rms_norm_eps);
}

/* The mean divergence of trial @i; @host [tokens]. */
static int compare(struct measurer *m, const struct head_side *base, int i, float *host,
                   double *ret_kl) {
    const struct model_config *c = &m->run->checkpoint->config;
    struct head_side other;
    int T = tokens_of(m), r = norm(m, i, 1, &other);
    double sum = 0;

    if (!r)
        r = m->b->ops->head_difference(m->b, m->kl, base, &other, m->targets, T, c->hidden_size,
                                       c->vocab_size, m->scratch);
    if (!r)
        r = m->b->ops->download(m->b, host, span_slice(m->kl, 0, T * sizeof(float)));
    for (int t = 0; t < T && !r; t++)
        sum += host[t];
    if (!r && !isfinite(sum))
        r = failure_set(m->run->failure, -ERANGE, "not_finite", "name the bits by rules",
                        "what rounding a part of the model does is not a finite number");
    *ret_kl = sum / T;
    return r ? r : progress_add(&m->run->progress, m->windows);
}

static int compare_all(struct measurer *m, struct choice_unit *ret) {
    const struct units *units = m->units;
    cleanup(freep) float *host = malloc((size_t)tokens_of(m) * sizeof(*host));
    struct head_side base;
    int r = host ? norm(m, 0, 0, &base) : failure_oom(m->run->failure);

    for (int i = 0; i < units_trials(units) && !r; i++) {
        r = run_cancelled(m->run);
        if (!r)
            r = compare(m, &base, 1 + i, host, &ret[i / units->n_bits].kl[i % units->n_bits]);
    }
    return r;
}

/* ---- all ---- */

double measure_work(const struct run *run, const struct units *units) {
    double trials = units_trials(units), layers = run_layers(run);

    /* A trial goes through half of the layers on average, and through the head. */
    return measure_windows(run) * (layers + trials * ((layers + 1) / 2 + 1));
}

static int embed(struct measurer *m) {
    struct run *run = m->run;

    return embed_windows(run, state(m, 0), &m->ends, run->calibration->ids, m->windows,
                         run->seqlen);
}

int measure_units(struct run *run, const struct units *units, struct choice_unit *ret) {
    struct measurer m;
    int r = measurer_init(&m, run, units);

    if (!r)
        r = embed(&m);
    for (int i = 0; i < run_layers(run) && !r; i++)
        r = measure_layer(&m, i);
    if (!r)
        r = compare_all(&m, ret);
    measurer_done(&m);
    return r;
}
