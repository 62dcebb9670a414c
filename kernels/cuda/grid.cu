// SPDX-License-Identifier: Apache-2.0
/*
 * rtn(): every weight to the nearest point of its group's grid, groups in the model's order; and
 * the grids of static groups for gptq().
 *
 * A power of two of lanes shares a group, 16 bytes a lane and step. Memory: w is read once from
 * the device (the second pass hits the cache), every output written once.
 */
#include "kernels/cuda/grid.cuh"

int grid_check(struct cuda_backend *b, const struct grid *grid, const struct quantized *q, int n) {
    int wbits = grid->wbits;

    if (wbits != 2 && wbits != 3 && wbits != 4 && wbits != 8)
        return status_invalid(b, "wbits %d is not 2, 3, 4 or 8", wbits);
    if (grid->groupsize < 1 || n % grid->groupsize || (grid->groupsize % 8 && grid->groupsize != n))
        return status_invalid(b, "groupsize %d does not divide %d or is no multiple of 8",
                              grid->groupsize, n);
    if (grid->fit != GRID_MINMAX && grid->fit != GRID_MSE && grid->fit != GRID_HESSIAN)
        return status_invalid(b, "the fit %d of a grid is unknown", (int)grid->fit);
    if (!grid->sub_bits)
        return 0;
    if (grid->sub_bits < 4 || grid->sub_bits > 8 || grid->groupsize > GRID_SUPER ||
        (grid->groupsize & (grid->groupsize - 1)) || n % GRID_SUPER)
        return status_invalid(b, "a K grid of %d bits and groups of %d for %d columns",
                              grid->sub_bits, grid->groupsize, n);
    if (!q->d.size || grid->sym != !q->dmin.size)
        return status_invalid(b, "a K grid has d, and dmin when it is not symmetric");
    return 0;
}

/* -EINVAL unless the units of @q, if it has some, fit. */
static int units_needs(struct cuda_backend *b, const struct quantized *q, int G, int rows, int n) {
    if (q->d.size && n % GRID_SUPER)
        return status_invalid(b, "super-blocks do not divide %d columns", n);
    if (q->d.size)
        TRY(op_needs(b, {{"d", q->d, bytes_of(2, {G, n / GRID_SUPER, rows}), 2}}));
    if (q->dmin.size)
        TRY(op_needs(b, {{"dmin", q->dmin, bytes_of(2, {G, n / GRID_SUPER, rows}), 2}}));
    return 0;
}

int grid_needs(struct cuda_backend *b, const struct quantized *q, int groupsize, int G, int rows,
               int n) {
    long n_groups = n / groupsize;

    TRY(units_needs(b, q, G, rows, n));
    return op_needs(b, {{"codes", q->codes, bytes_of(1, {G, rows, n}), 1},
                        {"scales", q->scales, bytes_of(2, {G, n_groups, rows}), 2},
                        {"zeros", q->zeros, bytes_of(1, {G, n_groups, rows}), 1},
                        {"g_idx", q->g_idx, bytes_of(4, {G, n}), 4}});
}

struct round_args {
    const bf16 *w;
    const float *diagonal; /* [G, n] */
    unsigned char *codes;  /* NULL: the grids only */
    __half *scales;
    unsigned char *zeros;
    bf16 *dq;
    struct grid_args grid;
    long n_tasks; /* groups of all rows of all matrices */
    int rows, n_groups, lanes;
    bool aligned;
};

/* The best grid of the shrunken ranges; every lane takes its share of the group. */
template <bool WEIGHTED>
__device__ struct point_scale lanes_search(const bf16 *w, const float *diagonal,
                                           const struct round_args &args, int lane, float lo,
                                           float hi) {
    struct point_scale best = grid_of_range(lo, hi, 1.0f, args.grid);
    float least = INFINITY, v[8];

    for (int step = 0; step < SHRINK_STEPS; step += TRIALS) {
        struct trials t;

        trials_begin(t, lo, hi, step, args.grid);
        for (int i = lane * 8; i < args.grid.groupsize; i += args.lanes * 8) {
            int count = args.grid.groupsize - i;

            load8(v, w + i, count, args.aligned);
#pragma unroll
            for (int k = 0; k < 8; k++)
                trials_add<WEIGHTED>(t, v[k], WEIGHTED && k < count ? diagonal[i + k] : 0.0f);
        }
#pragma unroll
        for (int k = 0; k < TRIALS; k++)
            t.loss[k] = lanes_sum(t.loss[k], args.lanes);
        trials_end(t, least, best);
    }
    return best;
}

__device__ struct point_scale lanes_grid(const bf16 *w, const float *diagonal,
                                         const struct round_args &args, int lane) {
    float v[8], lo = 0.0f, hi = 0.0f;

    for (int i = lane * 8; i < args.grid.groupsize; i += args.lanes * 8) {
        load8(v, w + i, args.grid.groupsize - i, args.aligned);
#pragma unroll
        for (int k = 0; k < 8; k++) {
            lo = fminf(lo, v[k]);
            hi = fmaxf(hi, v[k]);
        }
    }
    lo = lanes_min(lo, args.lanes);
    hi = -lanes_min(-hi, args.lanes);
    if (args.grid.fit == GRID_HESSIAN)
        return lanes_search<true>(w, diagonal, args, lane, lo, hi);
    if (args.grid.fit == GRID_MSE)
        return lanes_search<false>(w, diagonal, args, lane, lo, hi);
    return grid_of_range(lo, hi, 1.0f, args.grid);
}

__global__ void round_kernel(const struct round_args args) {
    int per_block = 256 / args.lanes, lane = threadIdx.x % args.lanes;
    long task = (long)blockIdx.x * per_block + threadIdx.x / args.lanes;
    bool idle = task >= args.n_tasks; /* stays for the shuffles */
    long row = (idle ? 0 : task) / args.n_groups, group = (idle ? 0 : task) % args.n_groups;
    long first = (row * args.n_groups + group) * args.grid.groupsize;
    const bf16 *w = args.w + first;
    const float *diagonal = args.diagonal + (row / args.rows * args.n_groups + group) *
                                                args.grid.groupsize; /* read with a Hessian */
    struct point_scale at = lanes_grid(w, diagonal, args, lane);

    if (idle)
        return;
    if (!lane) {
        long g = row / args.rows, to = (g * args.n_groups + group) * args.rows + row % args.rows;

        args.scales[to] = __float2half_rn(at.scale);
        args.zeros[to] = (unsigned char)at.zero;
    }
    if (!args.codes)
        return;
    for (int i = lane * 8; i < args.grid.groupsize; i += args.lanes * 8) {
        int count = args.grid.groupsize - i;
        float v[8];
        uint2 packed = {0, 0};

        load8(v, w + i, count, args.aligned);
#pragma unroll
        for (int k = 0; k < 8; k++) {
            float code = grid_code(v[k], at, args.grid.maxq);

            v[k] = grid_weight(code, at);
            (k < 4 ? packed.x : packed.y) |= (unsigned)code << k % 4 * 8;
        }
        store8(args.dq + first + i, v, count, args.aligned);
        if (args.aligned && count >= 8)
            *(uint2 *)(args.codes + first + i) = packed;
        else
            for (int k = 0; k < count && k < 8; k++)
                args.codes[first + i + k] = (k < 4 ? packed.x : packed.y) >> k % 4 * 8;
    }
}

__global__ void g_idx_kernel(int *g_idx, int n, int groupsize) {
    int i = blockIdx.x * 256 + threadIdx.x;

    if (i < n)
        g_idx[(size_t)blockIdx.y * n + i] = i / groupsize;
}

int grid_round(struct cuda_backend *b, const struct quantized *q, bf16 *dq, const bf16 *w,
               const float *diagonal, const struct grid *grid, bool codes, int G, int rows, int n) {
    struct round_args args = {};

    args.w = w;
    args.diagonal = diagonal;
    args.codes = codes ? q->codes.at : NULL;
    args.scales = (__half *)q->scales.at;
    args.zeros = q->zeros.at;
    args.dq = dq;
    args.grid = grid_args(grid);
    args.rows = rows;
    args.n_groups = n / grid->groupsize;
    args.n_tasks = (long)G * rows * args.n_groups;
    args.lanes = 1;
    while (args.lanes < 32 && args.lanes * 16 <= grid->groupsize)
        args.lanes *= 2;
    args.aligned =
        grid->groupsize % 8 == 0 && aligned16(w) && aligned16(dq) && aligned16(q->codes.at);
    if (grid->sub_bits) {
        TRY(kgrid_round(b, q, dq, w, diagonal, grid, codes, G, rows, n));
    } else {
        round_kernel<<<blocks_for(args.n_tasks, 256 / args.lanes), 256, 0, b->lanes[0].stream>>>(
            args);
        LAUNCH_TRY(b);
    }
    g_idx_kernel<<<dim3(blocks_for(n, 256), G), 256, 0, b->lanes[0].stream>>>((int *)q->g_idx.at, n,
                                                                              grid->groupsize);
    LAUNCH_TRY(b);
    return 0;
}

int cuda_rtn(struct backend *base, const struct quantized *q, struct span dq, struct span w,
             const struct grid *grid, int G, int rows, int n) {
    struct cuda_backend *b = cuda_of(base);

    TRY(op_begin(b, "rtn", "G rows n groupsize wbits", G, rows, n, grid->groupsize, grid->wbits));
    if (G < 1 || rows < 1 || n < 1 || G > 65535)
        return status_invalid(b, "1 to 65535 matrices");
    TRY(grid_check(b, grid, q, n));
    if (grid->fit == GRID_HESSIAN)
        return status_invalid(b, "the fit of the grid needs a Hessian");
    TRY(grid_needs(b, q, grid->groupsize, G, rows, n));
    TRY(op_needs(
        b, {{"dq", dq, bytes_of(2, {G, rows, n}), 2}, {"w", w, bytes_of(2, {G, rows, n}), 2}}));
    return grid_round(b, q, (bf16 *)dq.at, (const bf16 *)w.at, NULL, grid, true, G, rows, n);
}
