// SPDX-License-Identifier: Apache-2.0
/*
 * GPTQ (arXiv 2210.17323). A stack whose Hessian float32 cannot factor, or not well, is factored in
 * float64. When that fails too, it is tried again with more and more damping. One that never can,
 * or that saw too few tokens, is rounded to nearest.
 */
#include "base/cleanup.h"
#include "base/macros.h"
#include "daemon/pipeline/methods/method.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define REFINE_ROUNDS                                                                              \
    2 /* each of so many sweeps as the user asked for, and a fit of the scales                     \
       */
/*
 * Above this condition a row of u may be off by 2 % in float32 (docs/NUMERICS.md). With the usual
 * damping of 0.01 the condition is at most 100 for each column, so 2048 columns do not exceed it.
 */
#define F32_CONDITION 2.1e5f

#define DAMPING_STEP 10 /* a factor that fails is tried again with so many times the damping */

/* Without damp: for the size of the scratch. */
static struct refinement describe_refinement(const struct problem *p) {
    return (struct refinement){
        .q = p->q,
        .dq = p->dq,
        .w = p->weights,
        .perm = p->memory.perm,
        .square = p->memory.u,
        .before = p->memory.before,
        .after = p->memory.after,
        .wbits = p->grid.wbits,
        .groupsize = p->grid.groupsize,
        .sweeps = p->options.refine,
        .rounds = REFINE_ROUNDS,
    };
}

static void refine_need(const struct problem *p, struct method_need *need) {
    const struct group_shape *shape = &p->shape;
    struct refinement r = describe_refinement(p);
    size_t rows = (size_t)shape->G * shape->rows;

    if (!p->options.refine)
        return;
    need->before = MAX(need->before, rows);
    need->after = MAX(need->after, rows);
    need->scratch =
        MAX(need->scratch, p->b->ops->refine_scratch(p->b, &r, shape->G, shape->rows, shape->n));
}

static void gptq_need(const struct problem *p, struct method_need *need) {
    const struct group_shape *shape = &p->shape;
    struct backend *b = p->b;
    size_t factor = b->ops->factor_scratch(b, shape->G, shape->n);
    bool drift = p->options.drift > 0;
    size_t exact = b->ops->factor_f64_scratch(b, shape->n);
    size_t gptq = b->ops->gptq_scratch(b, shape->G, shape->rows, shape->n, drift);

    if (drift) {
        need->p = MAX(need->p, (size_t)shape->G * shape->n * shape->n);
        need->scratch = MAX(need->scratch, b->ops->drift_scratch(b, shape->G, shape->n));
    }
    need->u = MAX(need->u, (size_t)shape->G * shape->n * shape->n);
    need->perm = MAX(need->perm, (size_t)shape->G * shape->n);
    need->scratch = MAX(need->scratch, MAX(MAX(factor, exact), gptq));
    refine_need(p, need);
}

/* ---- damping ---- */

/* Factors stack @g in float64, when the backend can; *info is 0 when it has a factor then. */
static int factor_exactly(struct problem *p, int g, int32_t *info) {
    struct outcome *outcome = &p->outcomes[g];
    struct backend *b = p->b;
    float condition;
    int32_t found;
    int r = b->ops->factor_f64(b, square_of(p, p->memory.u, g), square_of(p, p->gram->h, g),
                               perm_of(p, g), outcome->damping, &found, &condition, p->shape.n,
                               p->memory.scratch);

    if (r)
        return r == -ENOSYS ? 0 : r;
    *info = found;
    outcome->condition = found ? 0 : condition;
    return 0;
}

/* Tries the factor of stack @g with more and more damping; gives up on it above 1. */
static int factor_again(struct problem *p, int g) {
    struct backend *b = p->b;
    struct outcome *outcome = &p->outcomes[g];
    int32_t info = 1;
    float condition;

    while (info && outcome->damping < 1) {
        int r;

        outcome->damping = MIN(outcome->damping * DAMPING_STEP, 1.0f);
        r = b->ops->factor(b, square_of(p, p->memory.u, g), square_of(p, p->gram->h, g),
                           perm_of(p, g), &outcome->damping, &info, &condition, 1, p->shape.n,
                           p->memory.scratch);
        if (r)
            return r;
    }
    if (info)
        outcome->reason = "the factorization failed at every damping up to 1";
    return 0;
}

static int factor_all(struct problem *p) {
    struct method_memory *m = &p->memory;
    int G = p->shape.G, n = p->shape.n, r;
    cleanup(freep) int32_t *info = calloc(G, sizeof(*info));
    cleanup(freep) float *damping = calloc(G, sizeof(*damping));
    cleanup(freep) float *condition = calloc(G, sizeof(*condition));
    struct backend *b = p->b;

    if (!info || !damping || !condition)
        return failure_oom(p->failure);
    for (int g = 0; g < G; g++)
        damping[g] = (float)p->options.percdamp;
    r = b->ops->hessian_order(b, m->perm, p->gram->h, G, n, p->options.act_order);
    if (!r)
        r = b->ops->factor(b, m->u, p->gram->h, m->perm, damping, info, condition, G, n,
                           m->scratch);
    for (int g = 0; g < G && !r; g++) {
        if (p->outcomes[g].reason)
            continue;
        p->outcomes[g].damping = damping[g];
        if (info[g] || condition[g] > F32_CONDITION)
            r = factor_exactly(p, g, &info[g]);
        if (!r && info[g])
            r = factor_again(p, g);
    }
    return r;
}

/* ---- the method ---- */

/* All stacks at once; what it makes of those that cannot have GPTQ does not count. */
static int refine_all(struct problem *p) {
    int G = p->shape.G, n = p->shape.n, r;
    cleanup(freep) float *damping = calloc(G, sizeof(*damping));
    struct refinement refinement = describe_refinement(p);

    if (!damping)
        return failure_oom(p->failure);
    for (int g = 0; g < G; g++) {
        damping[g] = p->outcomes[g].damping;
        p->outcomes[g].refined = !p->outcomes[g].reason;
    }
    refinement.h = p->gram->h;
    refinement.d = p->gram->d;
    refinement.damp = damping;
    r = p->b->ops->hessian_order(p->b, p->memory.perm, p->gram->h, G, n, true);
    return r ? r : p->b->ops->refine(p->b, &refinement, G, p->shape.rows, n, p->memory.scratch);
}

/* All stacks at once; then those that cannot have GPTQ are overwritten by rounding. */
static int gptq_solve(struct problem *p) {
    const struct group_shape *shape = &p->shape;
    struct method_memory *m = &p->memory;
    struct span correction = {};
    int r;

    for (int g = 0; g < shape->G; g++) {
        p->outcomes[g].method = &method_gptq;
        if (p->gram->tokens[g] < p->gram->least_tokens)
            p->outcomes[g].reason = "too few calibration tokens reached this expert";
    }
    r = factor_all(p);
    if (!r && p->options.drift > 0) {
        correction = span_slice(m->p, 0, (size_t)shape->G * shape->n * shape->n * sizeof(float));
        r = p->b->ops->drift_correction(p->b, correction, p->gram->d, m->u, m->perm,
                                        (float)p->options.drift, shape->G, shape->n, m->scratch);
    }
    if (!r)
        r = p->b->ops->gptq(p->b, &p->q, p->dq, p->weights, m->u, m->perm, correction, p->gram->h,
                            &p->grid, p->options.static_groups, shape->G, shape->rows, shape->n,
                            m->scratch);
    if (!r && p->options.refine)
        r = refine_all(p);
    for (int g = 0; g < shape->G && !r; g++) {
        if (!p->outcomes[g].reason)
            continue;
        p->outcomes[g].damping = 0;
        r = rtn_stack(p, g);
    }
    return r;
}

static bool gptq_explain(const struct problem *p, int g, struct notice *ret_notice) {
    const struct outcome *outcome = &p->outcomes[g];

    if (outcome->reason) {
        ret_notice->code = "fell_back_to_rtn";
        snprintf(ret_notice->text, sizeof(ret_notice->text), "is rounded to nearest: %s",
                 outcome->reason);
        return true;
    }
    ret_notice->code = "damping_raised";
    snprintf(ret_notice->text, sizeof(ret_notice->text), "needed the damping raised to %g",
             outcome->damping);
    return outcome->damping > (float)p->options.percdamp;
}

const struct method_ops method_gptq = {
    .name = "gptq",
    .title = "GPTQ: the weights that are still to come make good for the error",
    .needs_hessians = true,
    .solve_units = 64,
    .refine_units = 100,
    .need = gptq_need,
    .solve = gptq_solve,
    .explain = gptq_explain,
};
