// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/solver.h"

#include "base/clock.h"
#include "daemon/model/arch/scheme.h"
#include "daemon/pipeline/params/schemes.h"

#include <errno.h>
#include <stdlib.h>

/* ---- memory ---- */

/* What a method is given of matrices of @shape and @scheme, apart from memory. */
static void describe_problem(const struct run *run, const struct group_shape *shape,
                             const struct scheme *scheme, struct problem *p) {
    const struct params *params = run->params;

    p->b = run->b;
    p->failure = run->failure;
    p->method = scheme->method;
    p->shape = *shape;
    p->grid = (struct grid){
        .wbits = scheme->wbits,
        .groupsize = scheme->groupsize > 0 ? scheme->groupsize : p->shape.n,
        .sym = scheme->sym,
        .fit = params->grid,
        .sub_bits = scheme->sub_bits,
    };
    p->options = (struct method_options){
        .percdamp = params->percdamp,
        .drift = params->drift,
        .act_order = params->act_order,
        .static_groups = params->static_groups,
        .refine = params->refine,
    };
    p->n_groups = p->shape.n / p->grid.groupsize;
}

/* What the methods of all matrices of @shape need at most. */
static void add_need(const struct run *run, const struct group_shape *shape,
                     struct method_need *need) {
    const struct schemes *schemes = run->quantization.schemes;
    const struct scheme base = rule_scheme(NULL, run->params);

    for (int i = 0; i < (schemes ? schemes->n : 1); i++) {
        const struct scheme *scheme = schemes ? &schemes->list[i] : &base;
        struct problem p = {};

        if (scheme->wbits == SCHEME_PLAIN)
            continue;
        describe_problem(run, shape, scheme, &p);
        scheme->method->need(&p, need);
    }
}

static void solver_layout(const struct run *run, struct arena *arena, struct solver *s) {
    size_t act = dtype_size(run->b->ops->act), dq = 0, rows = 0;
    struct method_need need = {};

    for (int i = 0; i < N_GROUPS; i++) {
        const struct backend_ops *ops = run->b->ops;
        struct group_shape shape;

        group_shape(&run->checkpoint->config, i, &shape);
        dq = MAX(dq, group_size(&shape));
        add_need(run, &shape, &need);
        if (!run->calibration)
            continue;
        rows = MAX(rows, (size_t)shape.G * shape.rows);
        need.scratch =
            MAX(need.scratch, ops->output_error_scratch(run->b, shape.G, shape.rows, shape.n));
    }
    code_memory_take(&run->checkpoint->config, &run->quantization, arena, &s->codes);
    arena_take(arena, &s->dq, act, 1, dq);
    arena_take(arena, &s->memory.u, sizeof(float), 1, need.u);
    arena_take(arena, &s->memory.perm, sizeof(int32_t), 1, need.perm);
    arena_take(arena, &s->memory.p, sizeof(float), 1, need.p);
    arena_take(arena, &s->memory.before, sizeof(float), 1, need.before);
    arena_take(arena, &s->memory.after, sizeof(float), 1, need.after);
    arena_take(arena, &s->error.num, sizeof(float), 1, rows);
    arena_take(arena, &s->error.den, sizeof(float), 1, rows);
    arena_take(arena, &s->memory.scratch, 1, 1, need.scratch);
    s->error.scratch = s->memory.scratch; /* they take turns */
}

size_t solver_size(const struct run *run) {
    struct solver solver = {};
    struct arena arena = {};

    solver_layout(run, &arena, &solver);
    return arena_size(&arena);
}

void solver_init(struct solver *solver, const struct run *run, struct span memory,
                 struct span kept) {
    struct arena arena = {.all = memory};

    *solver = (struct solver){.keeper.memory = kept};
    solver_layout(run, &arena, solver);
}

void solver_begin_layer(struct solver *solver) {
    solver->keeper.used = 0;
}

/* ---- one group ---- */

static void set_problem(struct solver *solver, const struct run *run,
                        const struct group_shape *shape, const struct scheme *scheme,
                        struct problem *p) {
    describe_problem(run, shape, scheme, p);
    p->q = code_memory_view(&solver->codes, &p->shape, p->n_groups);
    if (scheme->sub_bits)
        code_memory_add_units(&solver->codes, &p->shape, scheme->sym, &p->q);
    p->memory = solver->memory;
    p->dq = solver->dq;
}

/* The matrices of @shape, which are all of @scheme. @gram NULL: there are no Hessians. */
static int solve_alike(struct solver *solver, struct run *run, int layer,
                       const struct group_shape *shape, const struct scheme *scheme,
                       struct span weights, const struct gram *gram, struct kept_layer *kept,
                       json_t *matrices) {
    struct problem p = {.weights = weights, .gram = scheme->method->needs_hessians ? gram : NULL};
    cleanup(freep) struct outcome *outcomes = NULL;
    double started = clock_monotonic();
    struct backend *b = run->b;
    int r;

    set_problem(solver, run, shape, scheme, &p);
    outcomes = p.outcomes = calloc(p.shape.G, sizeof(*outcomes));
    if (!outcomes)
        return failure_oom(run->failure);

    r = p.method->solve(&p);
    if (!r)
        r = b->ops->sync(b);
    if (!r)
        r = report_group(run, layer, &p, &solver->error, clock_monotonic() - started, matrices);
    if (!r)
        r = keep_group(&solver->keeper, &p, kept);
    if (!r)
        r = b->ops->copy(b, weights, span_slice(solver->dq, 0, weights.size));
    if (!r && run->params->format->of_weights)
        r = keep_weights(&p, weights, kept);
    return r;
}

/* Stacks and parts that are neighbours in memory and of one scheme. */
struct block {
    int first, G, part, n_parts;
    const struct scheme *scheme;
};

/* Are all parts of stack @g of @scheme? */
static bool is_whole(const struct run *run, int layer, const struct group_shape *shape, int g,
                     const struct scheme *scheme) {
    bool whole = true;

    for (int p = 0; p < shape->n_parts; p++)
        whole &= scheme_of_part(&run->checkpoint->config, &run->quantization, layer, shape, g, p) ==
                 scheme;
    return whole;
}

/* The largest block that begins at part @part of stack @g. */
static struct block block_at(const struct run *run, int layer, const struct group_shape *shape,
                             int g, int part) {
    const struct model_config *config = &run->checkpoint->config;
    const struct quantization_config *q = &run->quantization;
    struct block block = {g, 1, part, 1, scheme_of_part(config, q, layer, shape, g, part)};

    while (part + block.n_parts < shape->n_parts &&
           scheme_of_part(config, q, layer, shape, g, part + block.n_parts) == block.scheme)
        block.n_parts++;
    while (block.n_parts == shape->n_parts && g + block.G < shape->G &&
           is_whole(run, layer, shape, g + block.G, block.scheme))
        block.G++;
    return block;
}

static int solve_block(struct solver *solver, struct run *run, int layer,
                       const struct group_shape *shape, const struct block *block,
                       struct span weights, const struct gram *gram, struct kept_layer *kept,
                       json_t *matrices) {
    const struct group_shape cut =
        group_cut(shape, block->first, block->G, block->part, block->n_parts);
    size_t act = dtype_size(run->b->ops->act);
    size_t offset =
        block->first * group_stack_size(shape) + (size_t)shape->parts[block->part].row * shape->n;
    struct gram slice = {};

    if (block->scheme->wbits == SCHEME_PLAIN)
        return 0;
    if (gram)
        slice = gram_slice(gram, block->first, block->G, shape->n);
    return solve_alike(solver, run, layer, &cut, block->scheme,
                       span_slice(weights, offset * act, group_size(&cut) * act),
                       gram ? &slice : NULL, kept, matrices);
}

int solver_group(struct solver *solver, struct run *run, int layer, enum group group,
                 struct span weights, const struct gram *gram, struct kept_layer *kept,
                 json_t *matrices) {
    const struct scheme base = rule_scheme(NULL, run->params);
    struct group_shape shape;
    int r = 0;

    group_shape(&run->checkpoint->config, group, &shape);
    if (!run->quantization.schemes)
        return solve_alike(solver, run, layer, &shape, &base, weights, gram, kept, matrices);
    for (int g = 0; g < shape.G && !r;) {
        for (int part = 0; part < shape.n_parts && !r;) {
            struct block block = block_at(run, layer, &shape, g, part);

            r = solve_block(solver, run, layer, &shape, &block, weights, gram, kept, matrices);
            part += block.n_parts;
            g += block.G - 1;
        }
        g++;
    }
    return r;
}

int solver_try(struct solver *solver, struct run *run, enum group group, int wbits,
               struct span weights, const struct gram *gram, struct span ret_weights,
               float *ret_errors) {
    struct scheme scheme = rule_scheme(NULL, run->params);
    struct problem p = {.weights = weights, .gram = gram};
    cleanup(freep) struct outcome *outcomes = NULL;
    struct backend *b = run->b;
    struct group_shape shape;
    int r;

    group_shape(&run->checkpoint->config, group, &shape);
    scheme.wbits = wbits;
    set_problem(solver, run, &shape, &scheme, &p);
    p.options.drift = 0;
    p.options.refine = 0;
    outcomes = p.outcomes = calloc(shape.G, sizeof(*outcomes));
    if (!outcomes)
        return failure_oom(run->failure);
    r = p.method->solve(&p);
    if (!r)
        r = b->ops->copy(b, ret_weights, span_slice(solver->dq, 0, ret_weights.size));
    if (!r && ret_errors)
        r = b->ops->output_error(b, solver->error.num, solver->error.den, weights, p.dq, gram->h,
                                 shape.G, shape.rows, shape.n, solver->error.scratch);
    if (!r && ret_errors)
        r = b->ops->download(
            b, ret_errors,
            span_slice(solver->error.num, 0, (size_t)shape.G * shape.rows * sizeof(float)));
    return r;
}
