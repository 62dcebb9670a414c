// SPDX-License-Identifier: Apache-2.0
/*
 * What the ops of a backend compute, as plain loops in double: nothing is fast here, so that
 * everything can be seen to be right. Shapes as in kernels/backend.h.
 */
#pragma once

#include "kernels/backend.h"

void ref_rmsnorm(double *y, const float *x, int ldx, const float *w, int T, int n, double eps);

/* y = x w' [+ y] */
void ref_linear(double *y, const float *x, const float *w, int T, int n_in, int n_out, bool add);

void ref_rope(double *y, const float *x, int ldx, int T, int seqlen, int n_heads, int head_dim,
              double theta);

void ref_attention(double *y, const float *qkv, int n_windows, int seqlen, int n_heads,
                   int n_kv_heads, int head_dim);

/* p [T, n_experts] = softmax(x w') */
void ref_router(double *p, const float *x, const float *w, int T, int d, int n_experts);

/* logits [T, vocab] stay with the caller, who judges ties */
void ref_head(double *nll, double *lse, double *logits, const float *x, const float *w,
              const int32_t *targets, int T, int d, int vocab);

/* h += x'x of rows rows, lower triangle only */
void ref_hessian(double *h, const float *x, int rows, int n);

/* d += (x0 - x)'x of rows rows */
void ref_cross(double *d, const float *x0, const float *x, int rows, int n);

/* p = alpha triu(d u', 1) u, d [n, n] permuted by perm; what is not above the diagonal is 0 */
void ref_correction(double *p, const float *d, const float *u, const int32_t *perm, double alpha,
                    int n);

/* The grid of n weights w; h [n]: what GRID_HESSIAN weighs them by. */
void ref_grid(const struct grid *grid, const double *w, const double *h, int n, double *ret_scale,
              double *ret_zero);

/* w / scale + zero, neither rounded nor clamped: the caller sees how near a tie it was. */
double ref_steps(double w, double scale, double zero);
int ref_code(double w, double scale, double zero, int wbits);

/*
 * GPTQ of one matrix w [rows, n], changed in place, one column after the other without blocks.
 * steps [rows, n] are the unrounded codes, codes what they round to, in the model's order;
 * scales and zeros [n_groups, rows].
 */
struct ref_gptq {
    double *w, *steps, *scales, *zeros;
    int *codes;
    const float *p; /* [n, n] of drift_correction(), or NULL */
};
void ref_gptq(struct ref_gptq *q, const float *u, const int32_t *perm, const float *h,
              const struct grid *grid, bool static_groups, int rows, int n);

/* Round to nearest: the same, nothing is spread. */
void ref_rtn(struct ref_gptq *q, const struct grid *grid, int rows, int n);

/* e h e' of one row e [n], h lower triangle */
double ref_quadratic(const double *e, const float *h, int n);
