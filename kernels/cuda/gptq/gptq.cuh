// SPDX-License-Identifier: Apache-2.0
/* What the column loop of gptq() (gptq.cu) works on, and how it comes and goes (edges.cu). */
#pragma once

#include "kernels/cuda/grid.cuh"

enum { GPTQ_ROWS = 65535 * 64 }; /* of a matrix at most */

/* What every kernel works on. */
struct gptq_args {
    const bf16 *w;
    const float *u, *h; /* h: its diagonal is read for GRID_HESSIAN */
    const int *perm;
    int *inverse;
    float *diagonal; /* [G, n], in the model's order */
    const float *p;  /* NULL: no drift to correct */
    float *wt, *errors;
    float *before; /* as errors: the weights just before they were rounded; with p */
    unsigned char *codes_t;
    unsigned char *codes; /* the results, as in struct quantized */
    __half *scales;
    unsigned char *zeros;
    int *g_idx;
    bf16 *dq;
    struct grid_units units;
    struct grid_args grid;
    int G, rows, n, n_groups;
    bool static_groups;
};

/* The diagonal of h for GRID_HESSIAN. 0 or -errno, as of the others. */
int gptq_diagonal(struct cuda_backend *b, const struct gptq_args &args);

/* wt from w, transposed and permuted; the inverse of perm, and g_idx. */
int gptq_load(struct cuda_backend *b, const struct gptq_args &args);

/* codes and dq from codes_t, in the model's order. */
int gptq_store(struct cuda_backend *b, const struct gptq_args &args);
