// SPDX-License-Identifier: Apache-2.0
/*
 * The grid of a group of weights: its scale and zero from the group's range, and a weight on it.
 *
 * Numerics: f32, IEEE division, halves to even; the scale is rounded to f16 before anything is
 * computed with it, so what is measured is what is saved. The search of the shrunken ranges tries
 * 1, 0.99, ... 0.21 of the range and keeps the first of the smallest sums of |w - q|^2.4, or of
 * h[j, j] (w - q)^2. Several ranges are tried at once, in registers, so that a weight is read once
 * for all of them. A trial divides by the scale by its reciprocal, rounds by adding 1.5 * 2^23, and
 * takes the fast power: none can tell two ranges apart that matter.
 */
#pragma once

#include "kernels/cuda/device.cuh"

enum { SHRINK_STEPS = 80, SHRINK_GRID = 100, TRIALS = 8 };

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

/*
 * The grids of all groups of untouched w, and what is on them when @codes. @diagonal [G, n] f32 of
 * h, in the model's order; read for GRID_HESSIAN only.
 */
int grid_round(struct cuda_backend *b, const struct quantized *q, bf16 *dq, const bf16 *w,
               const float *diagonal, const struct grid *grid, bool codes, int G, int rows, int n);

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

/* -------- the search of the shrunken range -------- */

/* TRIALS ranges side by side: their grids, and the losses so far. */
struct trials {
    float scale[TRIALS], reciprocal[TRIALS];
    float low[TRIALS], high[TRIALS]; /* of code - zero */
    float loss[TRIALS];
};

/* Those of steps @step .. @step + TRIALS - 1. */
__device__ __forceinline__ void trials_begin(struct trials &t, float lo, float hi, int step,
                                             const struct grid_args &grid) {
#pragma unroll
    for (int k = 0; k < TRIALS; k++) {
        struct point_scale at = grid_of_range(lo, hi, 1.0f - (float)(step + k) / SHRINK_GRID, grid);

        t.scale[k] = at.scale;
        t.reciprocal[k] = 1.0f / at.scale;
        t.low[k] = -at.zero;
        t.high[k] = grid.maxq - at.zero;
        t.loss[k] = 0.0f;
    }
}

/* |d|^2.4. Below the smallest normal number it is 0. */
__device__ __forceinline__ float loss_power(float d) {
    float power;

    asm("{\n\t.reg .f32 l;\n\t"
        "lg2.approx.ftz.f32 l, %1;\n\t"
        "mul.ftz.f32 l, l, 0f4019999A;\n\t"
        "ex2.approx.ftz.f32 %0, l;\n\t}"
        : "=f"(power)
        : "f"(fabsf(d)));
    return power;
}

/* A zero weight is on every grid: it adds nothing. */
template <bool WEIGHTED>
__device__ __forceinline__ void trials_add(struct trials &t, float w, float weight) {
#pragma unroll
    for (int k = 0; k < TRIALS; k++) {
        float steps = fminf(fmaxf(w * t.reciprocal[k], t.low[k]), t.high[k]), d;

        steps = __fadd_rn(__fadd_rn(steps, 12582912.0f), -12582912.0f);
        d = w - t.scale[k] * steps;
        t.loss[k] += WEIGHTED ? weight * (d * d) : loss_power(d);
    }
}

__device__ __forceinline__ void trials_end(const struct trials &t, float &least,
                                           struct point_scale &best) {
#pragma unroll
    for (int k = 0; k < TRIALS; k++) {
        if (t.loss[k] < least) {
            least = t.loss[k];
            best.scale = t.scale[k];
            best.zero = -t.low[k];
        }
    }
}
