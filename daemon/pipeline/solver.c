// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/solver.h"

#include "api/wire.h"
#include "base/clock.h"
#include "daemon/model/packing.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define DAMPING_STEP 10 /* a factor that fails is tried again with so many times the damping */

/* What became of one stack. */
struct outcome {
    bool gptq;
    const char *reason; /* why not GPTQ, or NULL */
    float damping;      /* fraction of mean(diag H) that was added */
};

/* One group on its way through the solver. */
struct task {
    struct solver *solver;
    struct run *run;
    struct group_shape shape;
    struct grid grid;
    int n_groups;
    struct span weights;
    const struct gram *gram;
    struct quantized q;
    struct outcome *outcomes; /* [G] */
};

/* ---- memory ---- */

static void solver_layout(const struct run *run, struct arena *arena, struct solver *s) {
    size_t act = dtype_size(run->b->ops->act);
    size_t u = 0, perm = 0, dq = 0, rows = 0, scratch = 0, packed = 0;

    for (int i = 0; i < N_GROUPS; i++) {
        const struct backend_ops *ops = run->b->ops;
        struct group_shape shape;

        group_shape(&run->checkpoint->config, i, &shape);
        u = MAX(u, (size_t)shape.G * shape.n * shape.n);
        perm = MAX(perm, (size_t)shape.G * shape.n);
        dq = MAX(dq, group_size(&shape));
        packed += group_size(&shape) * run->params->wbits / 8;
        rows = MAX(rows, (size_t)shape.G * shape.rows);
        scratch = MAX(scratch, ops->factor_scratch(run->b, shape.G, shape.n));
        scratch = MAX(scratch, ops->gptq_scratch(run->b, shape.G, shape.rows, shape.n));
        scratch = MAX(scratch, ops->output_error_scratch(run->b, shape.G, shape.rows, shape.n));
    }
    olmoe_codes_take(&run->checkpoint->config, run->params->groupsize, arena, &s->codes);
    arena_take(arena, &s->packed, 1, 1, packed);
    arena_take(arena, &s->dq, act, 1, dq);
    if (run->params->nearest)
        return;
    arena_take(arena, &s->u, sizeof(float), 1, u);
    arena_take(arena, &s->perm, sizeof(int32_t), 1, perm);
    arena_take(arena, &s->num, sizeof(float), 1, rows);
    arena_take(arena, &s->den, sizeof(float), 1, rows);
    arena_take(arena, &s->scratch, 1, 1, scratch);
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
    solver->packed_used = 0;
}

/* ---- slices: stack @g of an array of the group ---- */

static struct span stack_of(struct span all, size_t stack_bytes, int g) {
    return span_slice(all, g * stack_bytes, stack_bytes);
}

static struct span weights_of(const struct task *t, struct span all, int g) {
    return stack_of(all, group_stack_size(&t->shape) * dtype_size(t->run->b->ops->act), g);
}

static struct span square_of(const struct task *t, struct span all, int g) {
    return stack_of(all, (size_t)t->shape.n * t->shape.n * sizeof(float), g);
}

static struct span perm_of(const struct task *t, int g) {
    return stack_of(t->solver->perm, (size_t)t->shape.n * sizeof(int32_t), g);
}

static struct quantized quantized_of(const struct task *t, int g) {
    size_t grids = (size_t)t->n_groups * t->shape.rows;

    return (struct quantized){
        .codes = stack_of(t->q.codes, group_stack_size(&t->shape), g),
        .scales = stack_of(t->q.scales, grids * sizeof(uint16_t), g),
        .zeros = stack_of(t->q.zeros, grids, g),
        .g_idx = stack_of(t->q.g_idx, (size_t)t->shape.n * sizeof(int32_t), g),
    };
}

/* ---- GPTQ and what stands in for it ---- */

/* Tries the factor of stack @g with more and more damping. */
static int factor_again(struct task *t, int g) {
    struct backend *b = t->run->b;
    struct outcome *outcome = &t->outcomes[g];
    int32_t info = 1;

    while (info && outcome->damping < 1) {
        int r;

        outcome->damping = MIN(outcome->damping * DAMPING_STEP, 1.0f);
        r = b->ops->factor(b, square_of(t, t->solver->u, g), square_of(t, t->gram->h, g),
                           perm_of(t, g), &outcome->damping, &info, 1, t->shape.n,
                           t->solver->scratch);
        if (r)
            return r;
    }
    if (info) {
        outcome->gptq = false;
        outcome->damping = 0;
        outcome->reason = "the factorization failed at every damping up to 1";
    }
    return 0;
}

static int factor_all(struct task *t) {
    struct backend *b = t->run->b;
    struct solver *s = t->solver;
    int G = t->shape.G, n = t->shape.n, r;
    cleanup(freep) int32_t *info = calloc(G, sizeof(*info));
    cleanup(freep) float *damping = calloc(G, sizeof(*damping));

    if (!info || !damping)
        return failure_oom(t->run->failure);
    for (int g = 0; g < G; g++)
        damping[g] = (float)t->run->params->percdamp;
    r = b->ops->hessian_order(b, s->perm, t->gram->h, G, n, t->run->params->act_order);
    if (!r)
        r = b->ops->factor(b, s->u, t->gram->h, s->perm, damping, info, G, n, s->scratch);
    for (int g = 0; g < G && !r; g++) {
        if (!t->outcomes[g].gptq)
            continue;
        t->outcomes[g].damping = damping[g];
        if (info[g])
            r = factor_again(t, g);
    }
    return r;
}

/* GPTQ on all stacks at once; those that cannot have it are overwritten by rounding. */
static int quantize_group(struct task *t) {
    struct backend *b = t->run->b;
    struct solver *s = t->solver;
    const struct group_shape *shape = &t->shape;
    int r;

    if (!t->gram)
        return b->ops->rtn(b, &t->q, s->dq, t->weights, &t->grid, shape->G, shape->rows, shape->n);
    r = factor_all(t);
    if (!r)
        r = b->ops->gptq(b, &t->q, s->dq, t->weights, s->u, s->perm, &t->grid,
                         t->run->params->static_groups, shape->G, shape->rows, shape->n,
                         s->scratch);
    for (int g = 0; g < shape->G && !r; g++) {
        struct quantized q = quantized_of(t, g);

        if (!t->outcomes[g].gptq)
            r = b->ops->rtn(b, &q, weights_of(t, s->dq, g), weights_of(t, t->weights, g), &t->grid,
                            1, shape->rows, shape->n);
    }
    return r;
}

static void choose_methods(struct task *t) {
    for (int g = 0; g < t->shape.G; g++) {
        struct outcome *outcome = &t->outcomes[g];

        *outcome = (struct outcome){.gptq = t->gram != NULL};
        if (t->gram && t->gram->tokens[g] < t->gram->least_tokens) {
            outcome->gptq = false;
            outcome->reason = "too few calibration tokens reached this expert";
        }
    }
}

/* ---- the report ---- */

static double sum(const float *values, int n) {
    double total = 0;

    for (int i = 0; i < n; i++)
        total += values[i];
    return total;
}

static json_t *matrix_report(const struct task *t, const char *name, int g, double num, double den,
                             double seconds) {
    const struct outcome *outcome = &t->outcomes[g];
    double error = MAX(num, 0) / den; /* a sum that cancels may end just below zero */
    json_t *report = json_pack(
        "{s:s s:s s:o s:o s:o s:f}", "name", name, "method", outcome->gptq ? "gptq" : "rtn",
        "tokens", t->gram ? json_integer((json_int_t)t->gram->tokens[g]) : json_null(), "damping",
        outcome->gptq ? json_real(outcome->damping) : json_null(), "error",
        den > 0 && isfinite(error) ? json_real(error) : json_null(), "seconds", seconds);

    if (report && outcome->reason)
        json_object_set_new(report, "reason", json_string(outcome->reason));
    return report;
}

/* Tells of a stack that did not get what was asked for. */
static int warn(const struct task *t, const char *name, int g) {
    const struct outcome *outcome = &t->outcomes[g];
    char detail[320];

    if (outcome->reason)
        snprintf(detail, sizeof(detail), "%s is rounded to nearest: %s", name, outcome->reason);
    else if (outcome->gptq && outcome->damping > (float)t->run->params->percdamp)
        snprintf(detail, sizeof(detail), "%s needed the damping raised to %g", name,
                 outcome->damping);
    else
        return 0;
    return run_event(t->run, WIRE_EVENT_JOB_WARNING,
                     json_pack("{s:s s:s}", "code",
                               outcome->reason ? "fell_back_to_rtn" : "damping_raised", "detail",
                               detail));
}

static int report_group(struct task *t, int layer, double seconds, json_t *matrices) {
    struct backend *b = t->run->b;
    struct solver *s = t->solver;
    const struct group_shape *shape = &t->shape;
    size_t rows = (size_t)shape->G * shape->rows;
    cleanup(freep) float *num = calloc(rows, sizeof(*num));
    cleanup(freep) float *den = calloc(rows, sizeof(*den));
    int r = 0;

    if (!num || !den)
        return failure_oom(t->run->failure);
    if (t->gram) {
        r = b->ops->output_error(b, s->num, s->den, t->weights, s->dq, t->gram->h, shape->G,
                                 shape->rows, shape->n, s->scratch);
        if (!r)
            r = b->ops->download(b, num, span_slice(s->num, 0, rows * sizeof(*num)));
        if (!r)
            r = b->ops->download(b, den, span_slice(s->den, 0, rows * sizeof(*den)));
    }
    for (int g = 0; g < shape->G && !r; g++) {
        for (int p = 0; p < shape->n_parts && !r; p++) {
            const struct group_part *part = &shape->parts[p];
            size_t first = (size_t)g * shape->rows + part->row;
            char name[MATRIX_NAME_SIZE];
            json_t *report;

            group_matrix_name(shape, layer, g, p, name);
            report = matrix_report(t, name, g, sum(num + first, part->rows),
                                   sum(den + first, part->rows), seconds * part->rows / rows);
            if (json_array_append_new(matrices, report))
                return failure_oom(t->run->failure);
            r = warn(t, name, g);
        }
    }
    return r;
}

/* ---- the packed form ---- */

/* The scales, zeros and g_idx of a group, on the host. */
struct host_grids {
    uint16_t *scales; /* [G, n_groups, rows] */
    uint8_t *zeros;   /* [G, n_groups, rows] */
    int32_t *g_idx;   /* [G, n]; stays in the shard */
};

/* The rows of one part, out of [n_groups, rows of the stack], to [n_groups, rows of the part]. */
static void cut_rows(void *dst, const void *src, const struct task *t,
                     const struct group_part *part, size_t element) {
    for (int group = 0; group < t->n_groups; group++)
        memcpy((char *)dst + (size_t)group * part->rows * element,
               (const char *)src + ((size_t)group * t->shape.rows + part->row) * element,
               part->rows * element);
}

static int add_matrix(const struct task *t, struct shard *shard, const char *name, int g, int p,
                      const void *qweight, const struct host_grids *host) {
    const struct group_part *part = &t->shape.parts[p];
    size_t first = (size_t)g * t->n_groups * t->shape.rows, n_grids;
    int wbits = t->grid.wbits, words = part->rows * wbits / 32;
    cleanup(freep) uint8_t *zeros = NULL;
    char full[MATRIX_NAME_SIZE + 16];
    uint16_t *scales;
    uint32_t *qzeros;
    int r;

    n_grids = (size_t)t->n_groups * part->rows;
    zeros = malloc(n_grids);
    scales = shard_block(shard, n_grids * sizeof(*scales));
    qzeros = shard_block(shard, (size_t)t->n_groups * words * sizeof(*qzeros));
    if (!zeros || !scales || !qzeros)
        return -ENOMEM;
    cut_rows(scales, host->scales + first, t, part, sizeof(*scales));
    cut_rows(zeros, host->zeros + first, t, part, 1);
    qzeros_pack(qzeros, zeros, t->n_groups, part->rows, wbits, t->run->quantization.v2);

    snprintf(full, sizeof(full), "%s.qweight", name);
    r = shard_add(shard, full, DTYPE_I32, (uint64_t)t->shape.n * wbits / 32, part->rows, qweight);
    snprintf(full, sizeof(full), "%s.qzeros", name);
    if (!r)
        r = shard_add(shard, full, DTYPE_I32, t->n_groups, words, qzeros);
    snprintf(full, sizeof(full), "%s.scales", name);
    if (!r)
        r = shard_add(shard, full, DTYPE_F16, t->n_groups, part->rows, scales);
    snprintf(full, sizeof(full), "%s.g_idx", name);
    if (!r)
        r = shard_add(shard, full, DTYPE_I32, t->shape.n, 0, host->g_idx + (size_t)g * t->shape.n);
    return r;
}

static int download_grids(const struct task *t, struct shard *shard, struct host_grids *host) {
    struct backend *b = t->run->b;
    int r;

    host->scales = malloc(t->q.scales.size);
    host->zeros = malloc(t->q.zeros.size);
    host->g_idx = shard_block(shard, t->q.g_idx.size);
    if (!host->scales || !host->zeros || !host->g_idx)
        return failure_oom(t->run->failure);
    r = b->ops->download(b, host->scales, t->q.scales);
    if (!r)
        r = b->ops->download(b, host->zeros, t->q.zeros);
    if (!r)
        r = b->ops->download(b, host->g_idx, t->q.g_idx);
    return r;
}

/* Packs every part on the device, starts to fetch them, and adds them to the shard. */
static int keep_group(struct task *t, int layer, struct shard *shard) {
    const struct group_shape *shape = &t->shape;
    size_t size = group_size(shape) * t->grid.wbits / 8, offset = 0;
    struct span packed = span_slice(t->solver->packed, t->solver->packed_used, size);
    cleanup(freep) uint16_t *scales = NULL;
    cleanup(freep) uint8_t *zeros = NULL;
    struct backend *b = t->run->b;
    struct host_grids host = {};
    unsigned char *words = shard_block(shard, size);
    int r;

    if (!words)
        return failure_oom(t->run->failure);
    for (int g = 0; g < shape->G; g++) {
        for (int p = 0; p < shape->n_parts; p++) {
            int rows = shape->parts[p].rows;
            size_t n = (size_t)rows * shape->n, bytes = n * t->grid.wbits / 8;
            size_t first = g * group_stack_size(shape) + (size_t)shape->parts[p].row * shape->n;

            r = b->ops->pack(b, span_slice(packed, offset, bytes), span_slice(t->q.codes, first, n),
                             t->grid.wbits, 1, rows, shape->n);
            if (r)
                return r;
            offset += bytes;
        }
    }
    t->solver->packed_used += size;
    r = b->ops->fetch(b, words, packed);
    if (!r)
        r = download_grids(t, shard, &host);
    scales = host.scales;
    zeros = host.zeros;

    offset = 0;
    for (int g = 0; g < shape->G && !r; g++) {
        for (int p = 0; p < shape->n_parts && !r; p++) {
            char name[MATRIX_NAME_SIZE];

            group_matrix_name(shape, layer, g, p, name);
            r = add_matrix(t, shard, name, g, p, words + offset, &host);
            offset += (size_t)shape->parts[p].rows * shape->n * t->grid.wbits / 8;
        }
    }
    return r;
}

int solver_group(struct solver *solver, struct run *run, int layer, enum group group,
                 struct span weights, const struct gram *gram, struct shard *shard,
                 json_t *matrices) {
    struct task t = {.solver = solver, .run = run, .weights = weights, .gram = gram};
    cleanup(freep) struct outcome *outcomes = NULL;
    double started = clock_monotonic();
    struct backend *b = run->b;
    int r;

    group_shape(&run->checkpoint->config, group, &t.shape);
    t.grid = (struct grid){
        .wbits = run->params->wbits,
        .groupsize = run->params->groupsize > 0 ? run->params->groupsize : t.shape.n,
        .sym = run->params->sym,
        .mse = run->params->mse,
    };
    t.n_groups = t.shape.n / t.grid.groupsize;
    t.q = olmoe_codes_view(&solver->codes, &t.shape, t.n_groups);
    outcomes = t.outcomes = calloc(t.shape.G, sizeof(*outcomes));
    if (!outcomes)
        return failure_oom(run->failure);

    choose_methods(&t);
    r = quantize_group(&t);
    if (!r)
        r = b->ops->sync(b);
    if (!r)
        r = report_group(&t, layer, clock_monotonic() - started, matrices);
    if (!r)
        r = keep_group(&t, layer, shard);
    if (!r)
        r = b->ops->copy(b, weights, span_slice(solver->dq, 0, weights.size));
    return r;
}
