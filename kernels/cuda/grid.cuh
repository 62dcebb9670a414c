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

/* A code stands for scale * (code - zero) - min; min is 0 but on an asymmetric K grid. */
struct point_scale {
    float scale, zero, min;
};

static const float SCALE_LEAST = 5.9604644775390625e-8f, SCALE_MOST = 65504.0f; /* in f16 */

/* Units of a K grid, or all NULL and 0: of a row, super-block i at d[i * rows]. */
struct grid_units {
    const __half *d, *dmin; /* dmin NULL: symmetric */
    int groups;             /* of a super-block */
};

static inline struct grid_args grid_args(const struct grid *grid) {
    return {(float)((1 << grid->wbits) - 1), grid->groupsize, grid->sym, grid->fit};
}

/* -EINVAL unless the grid is one that the contract names, for @q with matrices of @n columns. */
int grid_check(struct cuda_backend *b, const struct grid *grid, const struct quantized *q, int n);

/*
 * The grids of all groups of untouched w, and what is on them when @codes. @diagonal [G, n] f32 of
 * h, in the model's order; read for GRID_HESSIAN only.
 */
int grid_round(struct cuda_backend *b, const struct quantized *q, bf16 *dq, const bf16 *w,
               const float *diagonal, const struct grid *grid, bool codes, int G, int rows, int n);

/* The same for a K grid, but for g_idx (kgrid.cu). */
int kgrid_round(struct cuda_backend *b, const struct quantized *q, bf16 *dq, const bf16 *w,
                const float *diagonal, const struct grid *grid, bool codes, int G, int rows, int n);

/* The units of @q, on groups of @groupsize, from matrix @g on; @rows and @n are of a matrix. */
static inline struct grid_units grid_units(const struct quantized *q, int groupsize, size_t g,
                                           int rows, int n) {
    size_t first = g * (n / GRID_SUPER) * rows;

    if (!q->d.size)
        return {};
    return {(const __half *)q->d.at + first,
            q->dmin.size ? (const __half *)q->dmin.at + first : NULL, GRID_SUPER / groupsize};
}

/* -EINVAL unless the outputs are large enough. */
int grid_needs(struct cuda_backend *b, const struct quantized *q, int groupsize, int G, int rows,
               int n);

__device__ __forceinline__ float round_scale(float scale) {
    float rounded = __half2float(__float2half_rn(scale));

    return fminf(fmaxf(rounded, SCALE_LEAST), SCALE_MOST);
}

/* The grid of the range [lo, hi], lo <= 0 <= hi, shrunk by @p. */
__device__ __forceinline__ struct point_scale grid_of_range(float lo, float hi, float p,
                                                            const struct grid_args &grid) {
    struct point_scale at;

    at.min = 0.0f;
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
    return fminf(fmaxf(rintf((w + at.min) / at.scale) + at.zero, 0.0f), maxq);
}

__device__ __forceinline__ float grid_weight(float code, const struct point_scale &at) {
    return at.scale * (code - at.zero) - at.min;
}

/* The grid of a group with such scale and zero; @d, @dmin: of its super-block, 1 and 0 without. */
__device__ __forceinline__ struct point_scale grid_point(__half scale, unsigned char zero, __half d,
                                                         __half dmin, bool has_min) {
    struct point_scale at = {__half2float(d) * __half2float(scale), (float)zero, 0.0f};

    if (has_min) {
        at.min = __half2float(dmin) * at.zero;
        at.zero = 0.0f;
    }
    return at;
}

/*
 * The grid of @group of a row: its scale and zero at [group * rows] of @scales and @zeros, as its
 * super-block's units.
 */
__device__ __forceinline__ struct point_scale grid_at(const __half *scales,
                                                      const unsigned char *zeros,
                                                      const struct grid_units &units, int group,
                                                      size_t rows) {
    __half scale = scales[group * rows];
    unsigned char zero = zeros[group * rows];
    size_t super;

    if (!units.d)
        return {__half2float(scale), (float)zero, 0.0f};
    super = group / units.groups * rows;
    return grid_point(scale, zero, units.d[super], units.dmin ? units.dmin[super] : units.d[super],
                      units.dmin != NULL);
}

__device__ __forceinline__ struct grid_units units_from(const struct grid_units &units,
                                                        size_t first) {
    return {units.d ? units.d + first : NULL, units.dmin ? units.dmin + first : NULL, units.groups};
}

/* -------- a power of two of lanes that share a group -------- */

__device__ __forceinline__ float lanes_min(float v, int lanes) {
    for (int other = 1; other < lanes; other *= 2)
        v = fminf(v, __shfl_xor_sync(0xffffffff, v, other));
    return v;
}

__device__ __forceinline__ float lanes_sum(float v, int lanes) {
    for (int other = 1; other < lanes; other *= 2)
        v += __shfl_xor_sync(0xffffffff, v, other);
    return v;
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
