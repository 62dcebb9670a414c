// SPDX-License-Identifier: Apache-2.0
/*
 * What the files of refine() share (refine.cu, sweep.cu, scales.cu).
 *
 * Everything stands transposed, [column, row], in the order of a sweep, so that neighbouring
 * threads touch neighbouring rows; one thread owns a row. H and what is multiplied with it are each
 * split into two bf16 of which the second holds what the first dropped: products run on tensor
 * cores, are summed in f32, and carry 16 bits of each factor.
 */
#pragma once

#include "kernels/cuda/grid.cuh"

/* Some matrices at work. Of each array the part of one matrix follows that of the one before. */
struct refine_args {
    const bf16 *w; /* [rows, n], in the model's order */
    const int *perm, *g_idx;
    unsigned char *codes_out;   /* [rows, n], in the model's order: the results */
    __half *scales_out;         /* [n_groups, rows] */
    bf16 *dq;                   /* [rows, n] */
    const unsigned char *zeros; /* [n_groups, rows] */
    struct grid_units units;    /* [n / GRID_SUPER, rows] */
    float *before, *after;      /* [rows] */

    bf16 *high, *low;     /* [n, n]: H, damped, both triangles */
    float *gradient;      /* [n, rows] */
    float *drift;         /* [n, rows]: w d; NULL: none */
    bf16 *wt;             /* [n, rows] */
    bf16 *e_high, *e_low; /* [n, rows]: q - w, or the last change of each column of q */
    float *work;          /* [128, rows]: the gradients of a block, while it is at work */
    unsigned char *codes; /* [n, rows] */
    __half *scales;       /* [n_groups, rows] */
    int *inverse;         /* [n]: of perm */
    int *groups;          /* [n]: the group of each column */
    int *members;         /* [n]: columns, group by group */
    float *system;        /* [n_groups * (n_groups + 1) / 2, rows]: lower triangle, row by row */
    float *slope, *step;  /* [n_groups, rows] */
    bf16 *panel;          /* [2 * groupsize, n]: rows of H of one group, high then low */
    bf16 *steps;          /* [2 * groupsize, rows]: codes minus zeros of its columns, twice */
    float *product;       /* [n, rows]; the same memory as e_high and e_low */

    float maxq;
    int G, rows, n, groupsize, n_groups;
};

/* A matrix's part of arrays of [n, rows], of [n_groups, rows]. */
__device__ __forceinline__ size_t refine_at(const struct refine_args &a, size_t g) {
    return g * a.n * a.rows;
}

__device__ __forceinline__ size_t refine_grids(const struct refine_args &a, size_t g) {
    return g * a.n_groups * a.rows;
}

/* The grid of @group of @row of matrix @g. */
__device__ __forceinline__ struct point_scale refine_grid(const struct refine_args &a, size_t g,
                                                          int group, size_t row) {
    size_t grids = refine_grids(a, g) + row, supers = g * (a.n / GRID_SUPER) * a.rows + row;

    return grid_at(a.scales + grids, a.zeros + grids, units_from(a.units, supers), group, a.rows);
}

/*
 * c [columns, rows] f32 = beta c + y' x of every matrix, with x [k, rows] and y [k, columns], whose
 * rows are @ld apart; strides in elements.
 */
int refine_product(struct cuda_backend *b, const struct refine_args &a, float *c, size_t c_stride,
                   const bf16 *x, size_t x_stride, const bf16 *y, int ld, size_t y_stride,
                   int columns, int k, float beta);

/* gradient [c0 .. c0 + columns - 1] = beta gradient + H e, of the first @k columns of e. */
int refine_add(struct cuda_backend *b, const struct refine_args &a, int c0, int columns, int k,
               float beta);

/* One sweep; @first: after the gradient was made anew (sweep.cu). */
int refine_sweep(struct cuda_backend *b, const struct refine_args &a, bool first);

/* New scales, by an up to date gradient, which they make out of date (scales.cu). */
int refine_scales(struct cuda_backend *b, const struct refine_args &a);
