// SPDX-License-Identifier: Apache-2.0
/*
 * One sweep of coordinate descent for all rows of all matrices at once: refine()'s column loop.
 *
 * Blocks of 128 columns. Before a block, products bring the gradients of its columns up to date
 * with the last change of every column: those of this sweep before the block, those of the last
 * sweep in and behind it. Within it a step of 32 columns is held in registers, H's block in shared
 * memory, and a step's changes then reach the rest of the block by a copy of its gradients: the
 * changes of a block reach its own gradients, like all others, by the next product.
 *
 * Numerics: f32 within a block. Memory a block: its gradients and changes once or twice.
 */
#include "kernels/cuda/refine/refine.cuh"

enum { BLOCK = 128, STEP = 32, THREADS = 128, SHARED = (BLOCK * BLOCK + BLOCK) * 4 };

/* One row of one matrix, as its thread sees it; column c of the block at [c * rows]. */
struct sweep_row {
    const float *gradient;
    float *work;
    unsigned char *codes;
    bf16 *high, *low;
    const __half *scales; /* group i at scales[i * rows] */
    const unsigned char *zeros;
    struct grid_units units;
};

/* A column's code, zero and scale in one register. */
__device__ __forceinline__ unsigned pack_point(unsigned char code, unsigned char zero,
                                               __half scale) {
    return (unsigned)__half_as_ushort(scale) << 16 | (unsigned)zero << 8 | code;
}

/* The units of its super-block in another; dmin is 0 on a symmetric grid. */
__device__ __forceinline__ unsigned pack_units(const struct grid_units &units, int group,
                                               size_t rows) {
    size_t super = group / units.groups * rows;
    unsigned dmin = units.dmin ? __half_as_ushort(units.dmin[super]) : 0;

    return (unsigned)__half_as_ushort(units.d[super]) << 16 | dmin;
}

template <bool K>
__device__ __forceinline__ struct point_scale unpack_grid(unsigned packed, unsigned units,
                                                          bool has_min) {
    __half scale = __ushort_as_half(packed >> 16);
    unsigned char zero = packed >> 8 & 0xff;

    if (!K)
        return {__half2float(scale), (float)zero, 0.0f};
    return grid_point(scale, zero, __ushort_as_half(units >> 16), __ushort_as_half(units & 0xffff),
                      has_min);
}

/* *packed becomes the code nearest to the least objective. Returns the change of q. */
__device__ __forceinline__ float move_point(unsigned *packed, const struct point_scale &at,
                                            float gradient, float reciprocal, float maxq) {
    float q = grid_weight((float)(*packed & 0xff), at);
    float next = grid_code(q - gradient * reciprocal, at, maxq);

    *packed = (unsigned)next;
    return grid_weight(next, at) - q;
}

/* The gradients of the block's columns from @s + W on, after the changes of W columns. */
template <int W>
__device__ __forceinline__ void sweep_rest(const struct sweep_row &row, const float *h,
                                           const float changes[W], size_t rows, int s, int width) {
    enum { AT_ONCE = W == 1 ? 1 : 8 };
    const float *from = s ? row.work : row.gradient;

    for (int j = s + W; j < width; j += AT_ONCE) {
        float v[AT_ONCE];

#pragma unroll
        for (int k = 0; k < AT_ONCE; k++)
            v[k] = j + k < width ? from[(j + k) * rows] : 0.0f;
#pragma unroll
        for (int i = 0; i < W; i++) {
            const float *at = h + (s + i) * BLOCK + j;

#pragma unroll
            for (int k = 0; k < AT_ONCE; k += 4) {
                if (W == 1) {
                    v[0] += changes[i] * at[0];
                } else {
                    float4 f = *(const float4 *)(at + k);

                    v[k] += changes[i] * f.x;
                    v[k + 1] += changes[i] * f.y;
                    v[k + 2] += changes[i] * f.z;
                    v[k + 3] += changes[i] * f.w;
                }
            }
        }
#pragma unroll
        for (int k = 0; k < AT_ONCE; k++)
            if (j + k < width)
                row.work[(j + k) * rows] = v[k];
    }
}

/*
 * W columns in registers, from column @s of the block; its columns' groups at @groups. Points are
 * read AHEAD columns before they move: all of them at once, or each with an address of its own, do
 * not fit into the registers.
 */
template <int W, bool K>
__device__ __forceinline__ void sweep_step(const struct sweep_row &row, const float *h,
                                           const float *reciprocal, const int *groups, size_t rows,
                                           float maxq, int s, int width) {
    enum { AHEAD = W < 4 ? W : 4 };
    const float *from = (s ? row.work : row.gradient) + s * rows;
    unsigned char *code = row.codes + s * rows, *moved = code;
    bf16 *high = row.high + s * rows, *low = row.low + s * rows;
    float g[W]; /* gradients, then changes */
    unsigned point[W], units[K ? W : 1];

#pragma unroll
    for (int i = 0; i < W; i++, from += rows)
        g[i] = *from;
#pragma unroll
    for (int i = -AHEAD; i < W; i++) {
        if (i + AHEAD < W) {
            int group = groups[s + i + AHEAD];

            point[i + AHEAD] = pack_point(*code, row.zeros[group * rows], row.scales[group * rows]);
            if (K)
                units[i + AHEAD] = pack_units(row.units, group, rows);
            code += rows;
        }
        if (i < 0)
            continue;
        g[i] = move_point(&point[i],
                          unpack_grid<K>(point[i], units[K ? i : 0], row.units.dmin != NULL), g[i],
                          reciprocal[s + i], maxq);
#pragma unroll
        for (int j = i + 1; j < W; j++)
            g[j] += g[i] * h[(s + i) * BLOCK + s + j];
    }
#pragma unroll
    for (int i = 0; i < W; i++, moved += rows, high += rows, low += rows) {
        bf16 head = __float2bfloat16_rn(g[i]);

        *moved = (unsigned char)point[i];
        *high = head;
        *low = __float2bfloat16_rn(g[i] - __bfloat162float(head));
    }
    sweep_rest<W>(row, h, g, rows, s, width);
}

/* Columns c0 .. c0 + width - 1 of all rows of all matrices. */
template <bool K>
__global__ void __launch_bounds__(THREADS, 3)
    sweep_kernel(const struct refine_args args, int c0, int width) {
    extern __shared__ float h[]; /* [BLOCK][BLOCK], then the reciprocals of its diagonal */
    __shared__ int groups[BLOCK];
    float *reciprocal = h + BLOCK * BLOCK;
    size_t g = blockIdx.y, at = blockIdx.x * THREADS + threadIdx.x, rows = args.rows;
    size_t square = (g * args.n + c0) * args.n + c0, first = refine_at(args, g) + c0 * rows + at;
    struct sweep_row row;

    for (int i = threadIdx.x; i < BLOCK * BLOCK; i += THREADS) {
        size_t k = i / BLOCK, j = i % BLOCK, from = square + k * args.n + j;
        bool inside = k < width && j < width;

        h[i] = inside ? __bfloat162float(args.high[from]) + __bfloat162float(args.low[from]) : 0.0f;
    }
    if (threadIdx.x < width)
        groups[threadIdx.x] = args.groups[g * args.n + c0 + threadIdx.x];
    __syncthreads();
    if (threadIdx.x < width)
        reciprocal[threadIdx.x] = 1.0f / h[threadIdx.x * BLOCK + threadIdx.x];
    __syncthreads();
    if (at >= rows)
        return;
    row.gradient = args.gradient + first;
    row.work = args.work + g * BLOCK * rows + at;
    row.codes = args.codes + first;
    row.high = args.e_high + first;
    row.low = args.e_low + first;
    row.scales = args.scales + refine_grids(args, g) + at;
    row.zeros = args.zeros + refine_grids(args, g) + at;
    row.units = units_from(args.units, g * (args.n / GRID_SUPER) * rows + at);
    for (int s = 0; s < width;) {
        if (width - s >= STEP) {
            sweep_step<STEP, K>(row, h, reciprocal, groups, rows, args.maxq, s, width);
            s += STEP;
        } else if (width - s >= 8) {
            sweep_step<8, K>(row, h, reciprocal, groups, rows, args.maxq, s, width);
            s += 8;
        } else {
            sweep_step<1, K>(row, h, reciprocal, groups, rows, args.maxq, s, width);
            s++;
        }
    }
}

int refine_sweep(struct cuda_backend *b, const struct refine_args &a, bool first) {
    dim3 grid(blocks_for(a.rows, THREADS), a.G);
    auto kernel = a.units.d ? sweep_kernel<true> : sweep_kernel<false>;

    CUDA_TRY(b, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, SHARED));
    for (int c0 = 0; c0 < a.n; c0 += BLOCK) {
        int width = min(a.n - c0, (int)BLOCK);

        TRY(refine_add(b, a, c0, width, first ? c0 : a.n, 1.0f));
        kernel<<<grid, THREADS, SHARED, b->lanes[0].stream>>>(a, c0, width);
        LAUNCH_TRY(b);
    }
    return 0;
}
