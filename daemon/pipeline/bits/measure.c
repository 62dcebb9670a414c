// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/bits/measure.h"

#include "daemon/pipeline/bits/candidates.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#define TOKENS 4096 /* that a trial looks at; more change its figure little */

/*
 * State 0 is the model itself. Then come the trials, in the order of layers, units and candidates,
 * and the models with all units at a candidate.
 */
struct measurer {
    struct run *run;
    struct backend *b;
    const struct units *units;
    struct candidates candidates;
    double *part_shares; /* [N_GROUPS * GROUP_PARTS_MAX, experts]; NULL: no item is an expert */
    int windows;         /* of a state */
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
};

int measured_init(struct measured *measured, const struct units *units) {
    size_t items = (size_t)units->n_items * units->n_bits;

    measured->kl = calloc(units_trials(units), sizeof(*measured->kl));
    measured->shares = calloc(items, sizeof(*measured->shares));
    if (!measured->kl || !measured->shares)
        return -ENOMEM;
    for (size_t i = 0; i < items; i++)
        measured->shares[i] = 1;
    return 0;
}

void measured_done(struct measured *measured) {
    free(measured->kl);
    free(measured->shares);
}

int measure_windows(const struct run *run) {
    return MAX(1, MIN(TOKENS / run->seqlen, run->calibration->n));
}

static int tokens_of(const struct measurer *m) {
    return m->windows * m->run->seqlen;
}

/* ---- memory ---- */

static int states_of(const struct units *units) {
    return 1 + units_trials(units) + units->n_bits;
}

static void layout(const struct run *run, int n_states, struct arena *arena, struct measurer *m) {
    const struct model_config *c = &run->checkpoint->config;
    size_t act = dtype_size(run->b->ops->act), T = (size_t)m->windows * run->seqlen;

    arena_take(arena, &m->memory, 1, 1, forward_work_size(c, act, run->batch * run->seqlen));
    arena_take(arena, &m->x, run_window_bytes(run), n_states, m->windows);
    arena_take(arena, &m->normed, act, 2 * T, c->hidden_size);
    arena_take(arena, &m->targets, sizeof(int32_t), 1, T);
    arena_take(arena, &m->kl, sizeof(float), 1, T);
    arena_take(arena, &m->nll, sizeof(float), 2, T);
    arena_take(arena, &m->best, sizeof(int32_t), 2, T);
    arena_take(arena, &m->scratch, 1, 1,
               run->b->ops->head_difference_scratch(run->b, (int)T, c->hidden_size, c->vocab_size));
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
    layout(run, states_of(&units), &arena, &m);
    failed |= checked_add(total, layer_weights_size(c, act), &total);
    failed |= checked_add(total, layer_weights_size(c, act), &total);
    failed |= checked_add(total, outer_weights_size(c, act, true), &total);
    failed |= checked_add(total, arena_size(&arena), &total);
    failed |= checked_add(total, candidates_size(run, m.windows), &total);
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
    layout(run, states_of(units), &arena, m);
    r = arena_alloc(m->b, &arena, &m->all);
    if (r)
        return r;
    layout(run, states_of(units), &arena, m);
    r = forward_work_init(c, act, run->batch * run->seqlen, m->memory, &m->work);
    if (r)
        return failure_oom(run->failure);
    if (run->params->target_unit == TARGET_EXPERT) {
        m->part_shares =
            calloc((size_t)N_GROUPS * GROUP_PARTS_MAX * c->num_experts, sizeof(*m->part_shares));
        if (!m->part_shares)
            return failure_oom(run->failure);
    }
    r = candidates_init(&m->candidates, run, m->windows, &m->work);
    return r ? r : m->b->ops->zero(m->b, m->targets);
}

static void measurer_done(struct measurer *m) {
    m->b->ops->stage_wait(m->b); /* nothing may still read the model or write to its memory */
    candidates_done(&m->candidates);
    free(m->part_shares);
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

/* The parts of @kind in @group, from @from to the trial: all stacks at once when they are all. */
static int set_group(struct measurer *m, const struct unit_kind *kind, enum group group,
                     const struct layer_weights *from) {
    size_t act = dtype_size(m->b->ops->act);
    struct group_shape shape;
    int r = 0;

    group_shape(&m->run->checkpoint->config, group, &shape);
    if (kind->parts[group] == (1u << shape.n_parts) - 1)
        return m->b->ops->copy(m->b, m->trial.matrices[group], from->matrices[group]);
    for (int i = 0; i < shape.G * shape.n_parts && !r; i++) {
        const struct group_part *part = &shape.parts[i % shape.n_parts];
        size_t at = (i / shape.n_parts) * group_stack_size(&shape) + (size_t)part->row * shape.n;
        size_t size = (size_t)part->rows * shape.n * act;

        if (kind->parts[group] >> (i % shape.n_parts) & 1)
            r = m->b->ops->copy(m->b, span_slice(m->trial.matrices[group], at * act, size),
                                span_slice(from->matrices[group], at * act, size));
    }
    return r;
}

static int set_unit(struct measurer *m, const struct unit_kind *kind,
                    const struct layer_weights *from) {
    int r = 0;

    for (int group = 0; group < N_GROUPS && !r; group++) {
        if (kind->parts[group])
            r = set_group(m, kind, group, from);
    }
    return r;
}

/* One unit as it is solved, from the states of the model to those of trial @i. */
static int try_unit(struct measurer *m, const struct unit_kind *kind, int i) {
    int r = m->b->ops->copy(m->b, state(m, i), state(m, 0));

    if (!r)
        r = set_unit(m, kind, &m->candidates.solved);
    if (!r)
        r = pass(m, &m->trial, i, i + 1);
    return r ? r : set_unit(m, kind, &m->layer);
}

/* Sets the shares of the items of unit @unit at candidate @c. */
static void set_shares(const struct measurer *m, int unit, int c, struct measured *ret) {
    const struct units *units = m->units;
    const struct unit_kind *kind = &units->kinds[unit % units->n_kinds];
    int experts = m->run->checkpoint->config.num_experts, part = 0;

    while (part < N_GROUPS * GROUP_PARTS_MAX - 1 &&
           !(kind->parts[part / GROUP_PARTS_MAX] >> (part % GROUP_PARTS_MAX) & 1))
        part++;
    for (int i = 0; kind->items > 1 && i < kind->items; i++)
        ret->shares[(size_t)(units_item(units, unit) + i) * units->n_bits + c] =
            m->part_shares[(size_t)part * experts + i];
}

/* All units of @layer at candidate @c, one by one and all at once. */
static int try_candidate(struct measurer *m, int layer, int c, struct measured *ret) {
    const struct units *units = m->units;
    int alike = 1 + units_trials(units) + c;
    int r = candidates_solve(&m->candidates, &m->layer, units->bits[c], m->part_shares);

    for (int k = 0; k < units->n_kinds && !r; k++) {
        int unit = layer * units->n_kinds + k;

        set_shares(m, unit, c, ret);
        r = try_unit(m, &units->kinds[k], 1 + unit * units->n_bits + c);
    }
    for (int k = 0; k < units->n_kinds && !r; k++)
        r = set_unit(m, &units->kinds[k], &m->candidates.solved);
    if (!r)
        r = pass(m, &m->trial, alike, alike + 1);
    for (int k = 0; k < units->n_kinds && !r; k++)
        r = set_unit(m, &units->kinds[k], &m->layer);
    return r ? r : progress_add(&m->run->progress, method_solve_units(m->run->params->method, 0));
}

static int measure_layer(struct measurer *m, int layer, struct measured *ret) {
    static const struct quantization_config plain = {};
    const struct weights_source source = {m->run->checkpoint, &plain, NULL};
    int first = 1 + layer * m->units->n_kinds * m->units->n_bits;
    int r = layer_weights_load(m->b, &source, layer, &m->layer, NULL, m->run->failure);

    m->run->progress.layer = layer;
    if (!r)
        r = m->b->ops->copy(m->b, m->trial.all, m->layer.all);
    if (!r)
        r = candidates_gather(&m->candidates, &m->layer);
    for (int c = 0; c < m->units->n_bits && !r; c++)
        r = try_candidate(m, layer, c, ret);
    if (!r)
        r = pass(m, &m->layer, 0, first);
    if (!r)
        r = candidates_advance(&m->candidates, &m->layer);
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

static int compare_all(struct measurer *m, struct measured *ret) {
    const struct units *units = m->units;
    cleanup(freep) float *host = malloc((size_t)tokens_of(m) * sizeof(*host));
    struct head_side base;
    int r = host ? norm(m, 0, 0, &base) : failure_oom(m->run->failure);

    for (int i = 1; i < states_of(units) && !r; i++) {
        int trial = i - 1, alike = trial - units_trials(units);

        r = run_cancelled(m->run);
        if (!r)
            r = compare(m, &base, i, host, alike < 0 ? &ret->kl[trial] : &ret->alike[alike]);
    }
    return r;
}

/* ---- all ---- */

double measure_work(const struct run *run, const struct units *units) {
    double trials = units_trials(units), layers = run_layers(run), alike = units->n_bits;
    double solve = method_solve_units(run->params->method, 0);

    /* A trial goes through half of the layers on average, and through the head. */
    return measure_windows(run) *
               (layers + trials * ((layers + 1) / 2 + 1) + alike * (layers + 1)) +
           layers * (2 * candidates_windows(run, measure_windows(run)) + units->n_bits * solve);
}

static int embed(struct measurer *m) {
    struct run *run = m->run;
    int r =
        embed_windows(run, state(m, 0), &m->ends, run->calibration->ids, m->windows, run->seqlen);

    if (!r)
        r = embed_windows(run, m->candidates.x, &m->ends,
                          run->calibration->ids + (size_t)m->candidates.first * run->seqlen,
                          m->candidates.windows, run->seqlen);
    for (int c = 0; c < m->units->n_bits && !r; c++)
        r = m->b->ops->copy(m->b, state(m, 1 + units_trials(m->units) + c), state(m, 0));
    return r;
}

int measure_units(struct run *run, const struct units *units, struct measured *ret) {
    struct measurer m;
    int r = measurer_init(&m, run, units);

    if (!r)
        r = embed(&m);
    for (int i = 0; i < run_layers(run) && !r; i++)
        r = measure_layer(&m, i, ret);
    if (!r)
        r = compare_all(&m, ret);
    measurer_done(&m);
    return r;
}
