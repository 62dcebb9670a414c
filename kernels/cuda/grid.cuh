// SPDX-License-Identifier: Apache-2.0
/*
 * The grid of a group of weights: its scale and zero from the group's range, and a weight on it.
 *
 * Numerics: f32, IEEE division, halves to even; the scale is rounded to f16 before anything is
 * computed with it, so what is measured is what is saved. The search of the shrunken ranges tries
 * 1, 0.99, ... 0.21 of the range and keeps the first of the smallest sums of |w - q|^2.4.
 */
#pragma once

#include "kernels/cuda/device.cuh"

enum { SHRINK_STEPS = 80, SHRINK_GRID = 100 };

struct grid_args {
    float maxq; /* 2^wbits - 1 */
    int groupsize;
    bool sym;
    enum grid_fit fit;
};

struct point_scale {
    float scale, zero;
};

static inline struct grid_args grid_args(const struct grid *grid) {
    return {(float)((1 << grid->wbits) - 1), grid->groupsize, grid->sym, grid->fit};
}

/* -EINVAL unless the grid is one that the contract names, for matrices of @n columns. */
int grid_check(struct cuda_backend *b, const struct grid *grid, int n);

/* The grids of all groups of untouched w, and what is on them when codes and dq are not NULL. */
int grid_round(struct cuda_backend *b, const struct quantized *q, bf16 *dq, const bf16 *w,
               const struct grid *grid, bool codes, int G, int rows, int n);

/* -EINVAL unless the outputs are large enough. */
int grid_needs(struct cuda_backend *b, const struct quantized *q, int groupsize, int G, int rows,
               int n);

__device__ __forceinline__ float round_scale(float scale) {
    float rounded = __half2float(__float2half_rn(scale));

    return fminf(fmaxf(rounded, 5.9604644775390625e-8f), 65504.0f);
}

/* The grid of the range [lo, hi], lo <= 0 <= hi, shrunk by @p. */
__device__ __forceinline__ struct point_scale grid_of_range(float lo, float hi, float p,
                                                            const struct grid_args &grid) {
    struct point_scale at;

    if (lo == 0.0f && hi == 0.0f) {
        lo = -1.0f;
        hi = 1.0f;
    }
    if (grid.sym) {
        at.scale = round_scale(p * (2.0f * fmaxf(-lo, hi)) / grid.maxq);
        at.zero = (grid.maxq + 1.0f) / 2.0f;
    } else {
        at.scale = round_scale(p * (hi - lo) / grid.maxq);
        at.zero = fminf(fmaxf(rintf(-(p * lo) / at.scale), 0.0f), grid.maxq);
    }
    return at;
}

__device__ __forceinline__ float grid_code(float w, const struct point_scale &at, float maxq) {
    return fminf(fmaxf(rintf(w / at.scale) + at.zero, 0.0f), maxq);
}

/* |w - q|^2.4; the fast power, whose error cannot tell two ranges apart that matter */
__device__ __forceinline__ float grid_loss(float w, const struct point_scale &at, float maxq) {
    float distance = fabsf(at.scale * (grid_code(w, at, maxq) - at.zero) - w);

    return __powf(distance, 2.4f);
}
