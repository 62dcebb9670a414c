// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/bits/candidates.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TOKENS 65536 /* that the Hessians are of, at most: 8192 an expert in OLMoE-1B-7B */

/* The first window that is looked at. */
static int first_window(const struct run *run, int measured) {
    return run->calibration->n >= 4 * measured ? measured : 0;
}

int candidates_windows(const struct run *run, int measured) {
    return MAX(1, MIN(TOKENS / run->seqlen, run->calibration->n - first_window(run, measured)));
}

static bool by_expert(const struct run *run) {
    return run->params->target_unit == TARGET_EXPERT;
}

/* ---- memory ---- */

size_t candidates_size(const struct run *run, int measured) {
    size_t act = dtype_size(run->b->ops->act), total = 0;
    size_t windows = (size_t)candidates_windows(run, measured) + run->batch;
    bool failed = false;

    failed |= checked_add(total, layer_weights_size(&run->checkpoint->config, act), &total);
    failed |= checked_add(total, grams_size(run, false), &total);
    failed |= checked_add(total, solver_size(run), &total);
    failed |= checked_add(total, run_window_bytes(run) * windows, &total);
    return failed ? SIZE_MAX : total;
}

/* On the host. */
static int errors_alloc(struct candidates *c) {
    const struct model_config *config = &c->run->checkpoint->config;
    size_t rows = 0;

    for (int i = 0; i < N_GROUPS; i++) {
        struct group_shape shape;

        group_shape(config, i, &shape);
        rows = MAX(rows, (size_t)shape.G * shape.rows);
    }
    c->errors = calloc(rows, sizeof(*c->errors));
    c->weights = calloc(config->num_experts, sizeof(*c->weights));
    return c->errors && c->weights ? 0 : failure_oom(c->run->failure);
}

int candidates_init(struct candidates *c, struct run *run, int measured,
                    struct forward_work *work) {
    struct backend *b = run->b;
    int r;

    *c = (struct candidates){.run = run,
                             .windows = candidates_windows(run, measured),
                             .first = first_window(run, measured),
                             .work = work};
    r = layer_weights_alloc(b, &run->checkpoint->config, &c->solved);
    if (!r)
        r = grams_init(&c->grams, run, c->windows, false);
    if (!r)
        r = b->ops->alloc(b, solver_size(run), &c->shared);
    if (!r)
        r = b->ops->alloc(b, c->windows * run_window_bytes(run), &c->x);
    if (!r)
        r = b->ops->alloc(b, run->batch * run_window_bytes(run), &c->batch);
    if (!r && by_expert(run))
        r = errors_alloc(c);
    if (!r)
        solver_init(&c->solver, run, c->shared, (struct span){});
    return r;
}

void candidates_done(struct candidates *c) {
    struct backend *b;

    if (!c->run)
        return;
    b = c->run->b;
    free(c->weights);
    free(c->errors);
    b->ops->free(b, &c->batch);
    b->ops->free(b, &c->x);
    b->ops->free(b, &c->shared);
    grams_done(&c->grams, b);
    layer_weights_free(b, &c->solved);
}

/* ---- passes ---- */

static int take_input(void *ctx, enum group group, struct span x, struct span x0,
                      const int32_t *offsets) {
    struct candidates *c = ctx;

    return grams_add(&c->grams, c->run, group, x, x0, offsets);
}

/* The router weights of the last pass, over @tokens. */
static int add_weights(struct candidates *c, int tokens) {
    const struct model_config *config = &c->run->checkpoint->config;
    size_t n = (size_t)tokens * config->num_experts_per_tok;
    cleanup(freep) int32_t *experts = malloc(n * sizeof(*experts));
    cleanup(freep) float *weights = malloc(n * sizeof(*weights));
    struct backend *b = c->run->b;
    int r;

    if (!experts || !weights)
        return failure_oom(c->run->failure);
    r = b->ops->download(b, experts, span_slice(c->work->experts, 0, n * sizeof(*experts)));
    if (!r)
        r = b->ops->download(b, weights, span_slice(c->work->weights, 0, n * sizeof(*weights)));
    for (size_t i = 0; i < n && !r; i++) {
        if (experts[i] >= 0 && experts[i] < config->num_experts)
            c->weights[experts[i]] += (double)weights[i] * weights[i];
    }
    return r;
}

/* Runs @count windows from @first on through @layer: with @gather a copy, else in place. */
static int run_windows(struct candidates *c, const struct layer_weights *layer, int first,
                       int count, bool gather) {
    struct run *run = c->run;
    size_t window = run_window_bytes(run);
    struct span x = span_slice(c->x, first * window, count * window);
    const struct forward_tap tap = {take_input, c, N_GROUPS - 1, NULL};
    int r = 0;

    if (gather) {
        r = run->b->ops->copy(run->b, span_slice(c->batch, 0, count * window), x);
        x = span_slice(c->batch, 0, count * window);
    }
    if (!r)
        r = layer_forward(run->b, &run->checkpoint->config, layer, c->work, x, count, run->seqlen,
                          gather ? &tap : NULL);
    if (!r && gather && c->weights)
        r = add_weights(c, count * run->seqlen);
    return r;
}

static int pass(struct candidates *c, const struct layer_weights *layer, bool gather) {
    struct run *run = c->run;

    for (int first = 0; first < c->windows; first += run->batch) {
        int count = MIN(run->batch, c->windows - first), r = run_cancelled(run);

        if (!r)
            r = run_windows(c, layer, first, count, gather);
        if (!r)
            r = run->b->ops->sync(run->b);
        if (!r)
            r = progress_add(&run->progress, count);
        if (r)
            return r;
    }
    return 0;
}

int candidates_gather(struct candidates *c, const struct layer_weights *layer) {
    const struct model_config *config = &c->run->checkpoint->config;
    int r = grams_clear(&c->grams, c->run, 0, N_GROUPS - 1);

    if (c->weights)
        memset(c->weights, 0, config->num_experts * sizeof(*c->weights));
    return r ? r : pass(c, layer, true);
}

int candidates_advance(struct candidates *c, const struct layer_weights *layer) {
    return pass(c, layer, false);
}

/* ---- solving ---- */

/*
 * What the rows of part @p of each expert add to the error of the layer's output, in proportion:
 * their errors, by the mean squared weight that the router gives the expert.
 */
static void share_errors(const struct candidates *c, const struct group_shape *shape,
                         const struct gram *gram, int p, double *ret_shares) {
    const struct group_part *part = &shape->parts[p];
    double all = 0;

    for (int g = 0; g < shape->G; g++) {
        const float *rows = c->errors + (size_t)g * shape->rows + part->row;
        double error = 0;

        for (int i = 0; i < part->rows; i++)
            error += MAX(rows[i], 0);
        ret_shares[g] = gram->tokens[g] ? error * c->weights[g] / (double)gram->tokens[g] : 0;
        all += ret_shares[g];
    }
    for (int g = 0; g < shape->G; g++)
        ret_shares[g] = all > 0 ? ret_shares[g] / all : 1.0 / shape->G;
}

int candidates_solve(struct candidates *c, const struct layer_weights *layer, int wbits,
                     double *ret_shares) {
    const struct model_config *config = &c->run->checkpoint->config;
    int r = 0;

    for (int i = 0; i < N_GROUPS && !r; i++) {
        struct group_shape shape;

        group_shape(config, i, &shape);
        r = solver_try(&c->solver, c->run, i, wbits, layer->matrices[i], &c->grams.of[i],
                       c->solved.matrices[i], ret_shares && shape.experts ? c->errors : NULL);
        for (int p = 0; p < shape.n_parts && !r && ret_shares && shape.experts; p++)
            share_errors(c, &shape, &c->grams.of[i], p,
                         ret_shares + (size_t)(i * GROUP_PARTS_MAX + p) * config->num_experts);
        if (!r)
            r = run_cancelled(c->run);
    }
    return r;
}
