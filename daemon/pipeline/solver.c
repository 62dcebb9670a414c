// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/solver.h"

#include "base/clock.h"

#include <errno.h>

/* ---- memory ---- */

/* What a method is given of @group, apart from memory. */
static void describe_problem(const struct run *run, enum group group, struct problem *p) {
    const struct params *params = run->params;

    p->b = run->b;
    p->failure = run->failure;
    group_shape(&run->checkpoint->config, group, &p->shape);
    p->grid = (struct grid){
        .wbits = params->wbits,
        .groupsize = params->groupsize > 0 ? params->groupsize : p->shape.n,
        .sym = params->sym,
        .fit = params->grid,
    };
    p->options = (struct method_options){
        .percdamp = params->percdamp,
        .act_order = params->act_order,
        .static_groups = params->static_groups,
        .refine = params->refine,
    };
    p->n_groups = p->shape.n / p->grid.groupsize;
}

static void solver_layout(const struct run *run, struct arena *arena, struct solver *s) {
    size_t act = dtype_size(run->b->ops->act), dq = 0, rows = 0;
    struct method_need need = {};

    for (int i = 0; i < N_GROUPS; i++) {
        const struct backend_ops *ops = run->b->ops;
        struct problem p = {};

        describe_problem(run, i, &p);
        dq = MAX(dq, group_size(&p.shape));
        run->method->need(&p, &need);
        if (!run->method->needs_hessians)
            continue;
        rows = MAX(rows, (size_t)p.shape.G * p.shape.rows);
        need.scratch = MAX(need.scratch,
                           ops->output_error_scratch(run->b, p.shape.G, p.shape.rows, p.shape.n));
    }
    code_memory_take(&run->checkpoint->config, run->params->groupsize, arena, &s->codes);
    keeper_take(run, arena, &s->keeper);
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

void solver_init(struct solver *solver, const struct run *run, struct span memory) {
    struct arena arena = {.all = memory};

    *solver = (struct solver){};
    solver_layout(run, &arena, solver);
}

void solver_begin_layer(struct solver *solver) {
    solver->keeper.used = 0;
}

/* ---- one group ---- */

static void set_problem(struct solver *solver, const struct run *run, enum group group,
                        struct problem *p) {
    describe_problem(run, group, p);
    p->q = code_memory_view(&solver->codes, &p->shape, p->n_groups);
    p->memory = solver->memory;
    p->dq = solver->dq;
}

int solver_group(struct solver *solver, struct run *run, int layer, enum group group,
                 struct span weights, const struct gram *gram, struct layer_codes *codes,
                 json_t *matrices) {
    struct problem p = {.weights = weights, .gram = gram};
    cleanup(freep) struct outcome *outcomes = NULL;
    double started = clock_monotonic();
    size_t n_before = codes->n_matrices;
    struct backend *b = run->b;
    int r;

    set_problem(solver, run, group, &p);
    outcomes = p.outcomes = calloc(p.shape.G, sizeof(*outcomes));
    if (!outcomes)
        return failure_oom(run->failure);

    r = run->method->solve(&p);
    if (!r)
        r = b->ops->sync(b);
    if (!r)
        r = report_group(run, layer, &p, &solver->error, clock_monotonic() - started, matrices);
    if (!r)
        r = keep_group(&solver->keeper, layer, &p, codes);
    if (!r)
        r = report_scales(run, codes, n_before);
    if (!r)
        r = b->ops->copy(b, weights, span_slice(solver->dq, 0, weights.size));
    return r;
}
