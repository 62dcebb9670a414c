// SPDX-License-Identifier: Apache-2.0
/*
 * K grids (struct grid of backend.h): rtn(), and the grids for gptq(), by the search that
 * kernels/cpu/kgrid.h describes.
 *
 * A warp has a super-block of one row, eight columns a lane, in registers: groups are 1 to 32
 * neighbouring lanes. Memory: w is read once, every output written once. Numerics: f32, as on the
 * cpu but for the order of sums.
 */
#include "kernels/cuda/grid.cuh"

enum { TRIALS_K = 16, ROUNDS = 3, WARPS = 8 };

struct kgrid_args {
    const bf16 *w;
    const float *diagonal;     /* [G, n]; NULL: all columns count alike */
    unsigned char *codes;      /* NULL: the grids only */
    __half *scales, *d, *dmin; /* dmin NULL: symmetric */
    unsigned char *zeros;
    bf16 *dq;
    float maxq, zero;            /* the largest code; the one that stands for -min */
    float least, most, most_min; /* whole numbers of d, of dmin from 0 */
    long n_tasks;                /* super-blocks of all rows of all matrices */
    int rows, n_supers, lanes;   /* lanes: of a group */
    bool sym, aligned;
};

/* What a lane knows of its group: the grid, in floats and in whole numbers of the units. */
struct lane_grid {
    struct point_scale at;
    float scale, min; /* whole numbers */
    float error;      /* of the group */
};

struct lane_sums {
    float qq, q, qw, w, one; /* weighted; q: code - zero */
};

struct lane_columns {
    float w[8], weight[8];
};

/* -------- over the columns of a group -------- */

__device__ float group_error(const struct kgrid_args &args, const struct lane_columns &c,
                             const struct point_scale &at) {
    float sum = 0.0f;

#pragma unroll
    for (int k = 0; k < 8; k++) {
        float e = grid_weight(grid_code(c.w[k], at, args.maxq), at) - c.w[k];

        sum += c.weight[k] * (e * e);
    }
    return lanes_sum(sum, args.lanes);
}

/* Of the lane's own columns. */
__device__ struct lane_sums own_sums(const struct kgrid_args &args, const struct lane_columns &c,
                                     const struct point_scale &at) {
    struct lane_sums s = {};

#pragma unroll
    for (int k = 0; k < 8; k++) {
        float q = grid_code(c.w[k], at, args.maxq) - at.zero;

        s.qq += c.weight[k] * (q * q);
        s.q += c.weight[k] * q;
        s.qw += c.weight[k] * (q * c.w[k]);
        s.w += c.weight[k] * c.w[k];
        s.one += c.weight[k];
    }
    return s;
}

/* Scale and minimum by least squares, for the codes as they are; they stay where there are none. */
__device__ void fit_point(const struct kgrid_args &args, const struct lane_columns &c,
                          struct point_scale &at) {
    struct lane_sums s = own_sums(args, c, at);
    float det, fit, min = 0.0f;

    s = {lanes_sum(s.qq, args.lanes), lanes_sum(s.q, args.lanes), lanes_sum(s.qw, args.lanes),
         lanes_sum(s.w, args.lanes), lanes_sum(s.one, args.lanes)};
    det = s.qq * s.one - s.q * s.q;
    fit = s.qw / s.qq;
    if (!args.sym && det > 0.0f) {
        min = (s.q * s.qw - s.qq * s.w) / det;
        if (min > 0.0f)
            fit = (s.qw * s.one - s.q * s.w) / det;
        else
            min = 0.0f;
    }
    if (!(s.qq > 0.0f) || !isfinite(fit) || (!args.sym && !(fit > 0.0f)))
        return;
    at.scale = fit;
    at.min = min;
}

/* -------- the steps of the search -------- */

__device__ struct point_scale fit_group(const struct kgrid_args &args,
                                        const struct lane_columns &c) {
    float lo = 0.0f, hi = 0.0f, least = INFINITY, scale;
    struct point_scale best = {SCALE_LEAST, args.zero, 0.0f};

#pragma unroll
    for (int k = 0; k < 8; k++) {
        lo = fminf(lo, c.w[k]);
        hi = fmaxf(hi, c.w[k]);
    }
    lo = lanes_min(lo, args.lanes);
    hi = -lanes_min(-hi, args.lanes);
    scale = args.sym ? (hi > -lo ? hi : lo) / -args.zero : (hi - lo) / args.maxq;
    for (int t = 0; t < TRIALS_K; t++) {
        float p = 1.05f - 0.04f * (float)t, error;
        struct point_scale trial = {scale == 0.0f ? SCALE_LEAST : p * scale, args.zero,
                                    args.sym ? 0.0f : -p * lo};

        fit_point(args, c, trial);
        error = group_error(args, c, trial);
        if (!t || error < least) {
            least = error;
            best = trial;
        }
    }
    return best;
}

__device__ float warp_max(float v) {
    return -lanes_min(-v, 32);
}

__device__ float f16_of(float v) {
    return __half2float(__float2half_rn(v));
}

/* @unit as f16 and not 0, with its sign. */
__device__ float sound_unit(float unit) {
    return copysignf(f16_of(fminf(fmaxf(fabsf(unit), SCALE_LEAST), SCALE_MOST)), unit);
}

__device__ float count_of(float value, float unit, float more, float least, float most) {
    float count = unit != 0.0f ? rintf(value / unit) + more : 0.0f;

    count = fminf(fmaxf(count, least), most);
    return count == 0.0f && least < 0.0f ? 1.0f : count;
}

__device__ struct point_scale point_in(const struct kgrid_args &args, float2 units, float scale,
                                       float min) {
    return {units.x * scale, args.zero, args.sym ? 0.0f : units.y * min};
}

/* The whole numbers near scale and minimum, or what the group has (not at @first). */
__device__ void count_group(const struct kgrid_args &args, const struct lane_columns &c,
                            float2 units, bool first, struct lane_grid &grid) {
    struct point_scale about = grid.at;
    int n_min = args.sym ? 1 : 3;

    if (!first)
        fit_point(args, c, about);
    for (int i = 0; i < 3 * n_min; i++) {
        int more = i / n_min, more_min = i % n_min; /* 0, 1, -1 */
        float scale =
            count_of(about.scale, units.x, more == 2 ? -1.0f : (float)more, args.least, args.most);
        float min = count_of(about.min, units.y, more_min == 2 ? -1.0f : (float)more_min, 0.0f,
                             args.most_min);
        struct point_scale trial = point_in(args, units, scale, min);
        float error = group_error(args, c, trial);

        if ((first && !i) || error < grid.error)
            grid = {trial, scale, min, error};
    }
}

/* New units where they lower the error of the super-block. */
__device__ void fit_units(const struct kgrid_args &args, const struct lane_columns &columns,
                          int lane, float2 &units, struct lane_grid &grid) {
    struct lane_sums s = own_sums(args, columns, grid.at);
    float min = args.sym ? 0.0f : grid.min;
    float a = warp_sum(grid.scale * grid.scale * s.qq), b = warp_sum(grid.scale * min * s.q);
    float c = warp_sum(min * min * s.one), x = warp_sum(grid.scale * s.qw);
    float y = warp_sum(min * s.w), det = a * c - b * b, d = x / a, dmin = 0.0f, error;
    bool counts = lane % args.lanes == 0;
    struct point_scale trial;
    float2 fitted;

    if (c > 0.0f && det > 0.0f) {
        dmin = (b * x - a * y) / det;
        if (dmin > 0.0f)
            d = (x * c - b * y) / det;
        else
            dmin = 0.0f;
    }
    if (!isfinite(d) || d == 0.0f || (!args.sym && d < 0.0f) || !isfinite(dmin))
        return;
    fitted = {sound_unit(d), f16_of(fminf(dmin, SCALE_MOST))};
    trial = point_in(args, fitted, grid.scale, grid.min);
    error = group_error(args, columns, trial);
    if (!(warp_sum(counts ? error : 0.0f) < warp_sum(counts ? grid.error : 0.0f)))
        return;
    units = fitted;
    grid.at = trial;
    grid.error = error;
}

__device__ float2 first_units(const struct kgrid_args &args, const struct point_scale &at) {
    float positive = warp_max(at.scale), negative = warp_max(-at.scale);
    float scale = positive >= negative ? positive : -negative;

    return {sound_unit(scale / (args.sym ? args.least : args.most)),
            f16_of(fminf(warp_max(at.min) / fmaxf(args.most_min, 1.0f), SCALE_MOST))};
}

/* -------- the kernel -------- */

__device__ struct lane_columns load_columns(const struct kgrid_args &args, long first,
                                            const float *diagonal, int lane) {
    struct lane_columns c;
    float mean = 0.0f;

    load8(c.w, args.w + first, 8, args.aligned);
#pragma unroll
    for (int k = 0; k < 8; k++) {
        c.weight[k] = diagonal ? diagonal[lane * 8 + k] : 0.0f;
        mean += c.weight[k] / (float)GRID_SUPER;
    }
    mean = warp_sum(mean);
#pragma unroll
    for (int k = 0; k < 8; k++)
        c.weight[k] = mean > 0.0f ? c.weight[k] + 0.01f * mean : 1.0f;
    return c;
}

__device__ void store_codes(const struct kgrid_args &args, const struct lane_columns &c,
                            const struct point_scale &at, long first) {
    float q[8];

#pragma unroll
    for (int k = 0; k < 8; k++) {
        float code = grid_code(c.w[k], at, args.maxq);

        args.codes[first + k] = (unsigned char)code;
        q[k] = grid_weight(code, at);
    }
    store8(args.dq + first, q, 8, args.aligned);
}

__global__ void __launch_bounds__(WARPS * 32) kgrid_kernel(const struct kgrid_args args) {
    int lane = threadIdx.x % 32, n_groups = args.n_supers * 32 / args.lanes;
    long task = (long)blockIdx.x * WARPS + threadIdx.x / 32; /* alike in a warp */
    long row = task / args.n_supers, super = task % args.n_supers, g = row / args.rows;
    long first = task * GRID_SUPER + lane * 8, at = g * args.n_supers + super;
    struct lane_columns c;
    struct lane_grid grid = {};
    float2 units;

    if (task >= args.n_tasks)
        return;
    c = load_columns(args, first, args.diagonal ? args.diagonal + at * GRID_SUPER : NULL, lane);
    grid.at = fit_group(args, c);
    units = first_units(args, grid.at);
    for (int round = 0; round < ROUNDS; round++) {
        count_group(args, c, units, round == 0, grid);
        fit_units(args, c, lane, units, grid);
    }
    if (lane % args.lanes == 0) {
        long group = g * n_groups + super * (32 / args.lanes) + lane / args.lanes;
        long to = group * args.rows + row % args.rows;

        args.scales[to] = __float2half_rn(grid.scale);
        args.zeros[to] = (unsigned char)(args.sym ? args.zero : grid.min);
    }
    if (!lane) {
        args.d[at * args.rows + row % args.rows] = __float2half_rn(units.x);
        if (args.dmin)
            args.dmin[at * args.rows + row % args.rows] = __float2half_rn(units.y);
    }
    if (args.codes)
        store_codes(args, c, grid.at, first);
}

int kgrid_round(struct cuda_backend *b, const struct quantized *q, bf16 *dq, const bf16 *w,
                const float *diagonal, const struct grid *grid, bool codes, int G, int rows,
                int n) {
    struct kgrid_args args = {};
    int half = 1 << (grid->sub_bits - 1);

    args.w = w;
    args.diagonal = grid->fit == GRID_HESSIAN ? diagonal : NULL;
    args.codes = codes ? q->codes.at : NULL;
    args.scales = (__half *)q->scales.at;
    args.zeros = q->zeros.at;
    args.d = (__half *)q->d.at;
    args.dmin = grid->sym ? NULL : (__half *)q->dmin.at;
    args.dq = dq;
    args.maxq = (float)((1 << grid->wbits) - 1);
    args.zero = grid->sym ? (float)(1 << (grid->wbits - 1)) : 0.0f;
    args.least = grid->sym ? (float)-half : 1.0f;
    args.most = (float)((grid->sym ? half : 2 * half) - 1);
    args.most_min = grid->sym ? 0.0f : (float)(2 * half - 1);
    args.rows = rows;
    args.n_supers = n / GRID_SUPER;
    args.n_tasks = (long)G * rows * args.n_supers;
    args.lanes = grid->groupsize / 8;
    args.sym = grid->sym;
    args.aligned = aligned16(w) && aligned16(dq);
    kgrid_kernel<<<blocks_for(args.n_tasks, WARPS), WARPS * 32, 0, b->lanes[0].stream>>>(args);
    LAUNCH_TRY(b);
    return 0;
}
