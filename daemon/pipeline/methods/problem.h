// SPDX-License-Identifier: Apache-2.0
/*
 * What a method is given and what it gives: the matrices of one group, batched in G stacks of
 * [rows, n] (daemon/model/arch/geometry.h). The thread of the backend.
 */
#pragma once

#include "base/failure.h"
#include "daemon/model/arch/geometry.h"
#include "kernels/backend.h"

struct method_ops;

/* What calibration gathered about the inputs of one group. */
struct gram {
    struct span h;         /* [G, n, n] f32, lower triangle: sum of x'x */
    struct span d;         /* [G, n, n] f32: sum of (x0 - x)'x, x0 being what the original model
                              gives for x; empty: not gathered */
    uint64_t *tokens;      /* [G]: rows of x seen by each stack; owned */
    uint64_t least_tokens; /* of a stack; with fewer its Hessian says too little */
};

/* What the user chose for methods that can use it. */
struct method_options {
    double percdamp;
    double drift; /* how much of the drift is corrected, 0 to 1; above 0 only with gram->d */
    bool act_order, static_groups;
    int refine; /* sweeps of coordinate descent in each of its rounds; 0: none */
};

/* Device memory that a method uses beside its results. Its content is lost between groups. */
struct method_memory {
    struct span u;             /* [G, n, n] f32 */
    struct span perm;          /* [G, n] i32 */
    struct span p;             /* [G, n, n] f32, of drift_correction(); empty without drift */
    struct span scratch;       /* bytes */
    struct span before, after; /* [G, rows] f32: the objective of each row, see outcome.refined */
};

/* gram_slice() - of the stacks from @first on, with @n columns; it borrows from @gram. */
static inline struct gram gram_slice(const struct gram *gram, int first, int G, int n) {
    size_t square = (size_t)n * n * sizeof(float);

    return (struct gram){.h = span_slice(gram->h, first * square, G * square),
                         .d = span_slice(gram->d, first * square, G * square),
                         .tokens = gram->tokens + first,
                         .least_tokens = gram->least_tokens};
}

/* What became of one stack. */
struct outcome {
    const struct method_ops *method; /* that made it: the one asked for, or what stood in for it */
    const char *reason;              /* why another stood in, or NULL; static */
    float condition;                 /* of what was factored in float64, at least; 0: none was */
    float damping;                   /* fraction of mean(diag H) that was added; 0: none */
    bool refined;                    /* memory.before and after say what it gained */
};

struct problem {
    struct backend *b; /* all pointers are borrowed */
    struct failure *failure;
    const struct method_ops *method;
    struct group_shape shape;
    struct grid grid;
    int n_groups; /* of columns: shape.n / grid.groupsize */
    struct method_options options;
    struct span weights;     /* [G, rows, n] act; the method leaves them alone */
    const struct gram *gram; /* NULL when the method needs no Hessians */
    struct method_memory memory;

    struct quantized q;       /* the result */
    struct span dq;           /* [G, rows, n] act: the weights on their grid */
    struct outcome *outcomes; /* [G]; zero at first */
};

/* ---- slices: stack @g of an array of the group ---- */

static inline struct span stack_of(struct span all, size_t stack_bytes, int g) {
    return span_slice(all, g * stack_bytes, stack_bytes);
}

/* Of [G, rows, n] act. */
static inline struct span weights_of(const struct problem *p, struct span all, int g) {
    return stack_of(all, group_stack_size(&p->shape) * dtype_size(p->b->ops->act), g);
}

/* Of [G, n, n] f32. */
static inline struct span square_of(const struct problem *p, struct span all, int g) {
    return stack_of(all, (size_t)p->shape.n * p->shape.n * sizeof(float), g);
}

static inline struct span perm_of(const struct problem *p, int g) {
    return stack_of(p->memory.perm, (size_t)p->shape.n * sizeof(int32_t), g);
}

static inline struct quantized quantized_of(const struct problem *p, int g) {
    size_t grids = (size_t)p->n_groups * p->shape.rows;
    size_t units = (size_t)(p->shape.n / GRID_SUPER) * p->shape.rows * sizeof(uint16_t);

    return (struct quantized){
        .codes = stack_of(p->q.codes, group_stack_size(&p->shape), g),
        .scales = stack_of(p->q.scales, grids * sizeof(uint16_t), g),
        .zeros = stack_of(p->q.zeros, grids, g),
        .g_idx = stack_of(p->q.g_idx, (size_t)p->shape.n * sizeof(int32_t), g),
        .d = stack_of(p->q.d, units, g),
        .dmin = stack_of(p->q.dmin, units, g),
    };
}
