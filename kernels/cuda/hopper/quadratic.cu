// SPDX-License-Identifier: Apache-2.0
/*
 * Quadratic forms of the output error on Hopper: the product of rows with a triangle and its dot
 * with the same rows in one kernel, so that the product never goes through memory.
 *
 * Of a form e t e', t lower triangular, 256 columns of e t' need only the rows' columns up to their
 * own. So a tile of 128 rows and 256 columns takes 256 to n columns of k, and a block takes two
 * tiles at a time, the c'th and the c'th from the end, which makes all blocks' work equal. For each
 * 64 columns of k come t's high and low halves, one after the other, which the same accumulators
 * take up.
 * Numerics: f32 accumulation over k in its order, then over a thread's columns, four threads and,
 * by the caller, pairs of tiles: always in the same order.
 */
#include "kernels/cuda/hopper/tile.cuh"

#include <limits.h>

static_assert((int)QUADRATIC_WIDTH == (int)COLUMNS, "what the caller makes zero");

struct form_maps {
    CUtensorMap e[2], t[2];
};

struct form_args {
    float *part;
    const bf16 *e[2];
    int G, rows, n;
};

static int tiles_of(int n) {
    return (n + COLUMNS - 1) / COLUMNS;
}

int quadratic_hopper_parts(int n) {
    return (tiles_of(n) + 1) / 2;
}

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

/* What a block does at a time: 128 rows, and a pair of tiles or the one in the middle. */
struct unit {
    int row, which, pair, g; /* of e[which] */
    int tile;                /* of its two the next one */

    __device__ __forceinline__ unit(const struct form_args &args, int number) {
        int n_blocks = (args.rows + ROWS - 1) / ROWS, n_tiles = (args.n + COLUMNS - 1) / COLUMNS;
        int n_pairs = (n_tiles + 1) / 2;

        row = number % n_blocks * ROWS;
        which = number / n_blocks % 2;
        pair = number / n_blocks / 2 % n_pairs;
        g = number / n_blocks / 2 / n_pairs;
        tile = n_tiles - 1 - pair;
    }

    /* Goes on to the second tile, where there is one. */
    __device__ __forceinline__ bool advance() {
        bool more = tile != pair;

        tile = pair;
        return more;
    }

    __device__ __forceinline__ int n_panels(int n) const {
        int end = (tile + 1) * COLUMNS;

        return ((end < n ? end : n) + PANEL - 1) / PANEL;
    }
};

/* The thread that fills the ring. */
__device__ __forceinline__ void copy_all(unsigned shared, const struct form_maps &maps,
                                         const struct form_args &args, int n_units) {
    struct ring_place<SLOTS> place = ring_first_free();

    for (int number = blockIdx.x; number < n_units; number += gridDim.x) {
        struct unit unit(args, number);

        do {
            int n_steps = 2 * unit.n_panels(args.n);

            for (int step = 0; step < n_steps; step++) {
                unsigned slot = shared + place.slot * SLOT_BYTES;
                unsigned full = shared + FULL + place.slot * 8;
                int k = step / 2 * PANEL;

                barrier_wait(shared + FREE + place.slot * 8, place.turn);
                barrier_expect(full, SLOT_BYTES);
                copy_box(slot, &maps.e[unit.which], full, k, unit.row, unit.g, 0);
                copy_box(slot + A_BYTES, &maps.t[step % 2], full, k, unit.tile * COLUMNS, unit.g,
                         0);
                place.advance();
            }
        } while (unit.advance());
    }
}

/* A thread's values of a row of e, those that its part of a tile is multiplied with. */
struct row_values {
    __nv_bfloat162 pair[COLUMNS / 8];

    /* @row: where its first value is; @left: columns from there on */
    __device__ __forceinline__ void load(const bf16 *row, int left) {
#pragma unroll
        for (int j = 0; j < COLUMNS / 8; j++)
            pair[j] = j * 8 < left ? *reinterpret_cast<const __nv_bfloat162 *>(row + j * 8)
                                   : __nv_bfloat162();
    }

    /* The sum over the columns of row @h of the two that a thread has of @d. */
    __device__ __forceinline__ float dot(const float (&d)[128], int h) const {
        float sum = 0.0f;

#pragma unroll
        for (int j = 0; j < COLUMNS / 8; j++) {
            float2 e = __bfloat1622float2(pair[j]);

            sum += e.x * d[4 * j + 2 * h] + e.y * d[4 * j + 2 * h + 1];
        }
        return sum;
    }
};

__device__ __forceinline__ float sum_of_four(float value) {
    value += __shfl_xor_sync(0xffffffff, value, 1);
    return value + __shfl_xor_sync(0xffffffff, value, 2);
}

/* The warpgroups that multiply: number @group of them. */
__device__ __forceinline__ void compute_all(unsigned shared, const struct form_args &args,
                                            int n_units, int group) {
    int lane = threadIdx.x % 32;
    int line = group * 64 + threadIdx.x % WARPGROUP / 32 * 16 + lane / 4;
    struct ring_place<SLOTS> place = {};
    struct row_values values[2];
    float d[128];

    for (int number = blockIdx.x; number < n_units; number += gridDim.x) {
        struct unit unit(args, number);
        int first = unit.row + line;
        size_t base = (size_t)unit.g * args.rows;
        float sum[2] = {};

        do {
            int slot = ring_multiply(d, shared, group, 2 * unit.n_panels(args.n), place);
            int column = unit.tile * COLUMNS + lane % 4 * 2;

#pragma unroll
            for (int h = 0; h < 2; h++) {
                int row = first + 8 * h;

                values[h].load(args.e[unit.which] + (base + row) * args.n + column,
                               row < args.rows ? args.n - column : 0);
            }
            ring_end_tile(d, shared, slot);
            sum[0] += values[0].dot(d, 0);
            sum[1] += values[1].dot(d, 1);
        } while (unit.advance());
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float total = sum_of_four(sum[h]);

            if (lane % 4 == 0 && first + 8 * h < args.rows)
                args.part[((size_t)unit.pair * 2 + unit.which) * args.G * args.rows + base + first +
                          8 * h] = total;
        }
    }
}

#endif

__global__ void __launch_bounds__(THREADS, 1)
    quadratic_hopper_kernel(const __grid_constant__ struct form_maps maps,
                            const __grid_constant__ struct form_args args, int n_units) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    extern __shared__ __align__(1024) unsigned char memory[];
    unsigned shared = (unsigned)__cvta_generic_to_shared(memory);
    int group = __shfl_sync(0xffffffff, threadIdx.x / WARPGROUP, 0); /* known to be uniform */

    if (threadIdx.x == 0)
        ring_init(shared, 1);
    __syncthreads();
    if (group == 0) {
        registers_drop<40>();
        if (threadIdx.x == 0)
            copy_all(shared, maps, args, n_units);
    } else {
        registers_raise<232>();
        compute_all(shared, args, n_units, group - 1);
    }
#endif
}

/* -------- on the host -------- */

static int operand_map(struct cuda_backend *b, const bf16 *at, int G, int rows, int n, int box,
                       CUtensorMap *ret_map) {
    struct tile_view view = {};

    view.at = at;
    view.n_dims = 4;
    view.extent[0] = n;
    view.extent[1] = rows;
    view.extent[2] = G;
    view.extent[3] = 1;
    view.stride[0] = (uint64_t)n * sizeof(bf16);
    view.stride[1] = view.stride[0] * rows;
    view.stride[2] = view.stride[1] * G;
    view.box[0] = PANEL;
    view.box[1] = box;
    view.box[2] = 1;
    view.box[3] = 1;
    return tensor_map(b, view, ret_map);
}

static long count_units(int G, int rows, int n) {
    return 2L * G * ((rows + ROWS - 1) / ROWS) * quadratic_hopper_parts(n);
}

bool quadratic_hopper_takes(struct cuda_backend *b, int G, int rows, int n) {
    return n % 8 == 0 && count_units(G, rows, n) <= INT_MAX - (1 << 16) &&
           hopper_runs(b, (const void *)quadratic_hopper_kernel);
}

int quadratic_hopper(struct cuda_backend *b, float *part, const bf16 *e, const bf16 *w,
                     const bf16 *high, const bf16 *low, int G, int rows, int n) {
    struct form_args args = {part, {e, w}, G, rows, n};
    long n_units = count_units(G, rows, n);
    struct form_maps maps;
    int n_sms;

    TRY(operand_map(b, e, G, rows, n, ROWS, &maps.e[0]));
    TRY(operand_map(b, w, G, rows, n, ROWS, &maps.e[1]));
    TRY(operand_map(b, high, G, n, n, COLUMNS, &maps.t[0]));
    TRY(operand_map(b, low, G, n, n, COLUMNS, &maps.t[1]));
    CUDA_TRY(b, cudaDeviceGetAttribute(&n_sms, cudaDevAttrMultiProcessorCount, b->device));
    CUDA_TRY(b, cudaFuncSetAttribute(quadratic_hopper_kernel,
                                     cudaFuncAttributeMaxDynamicSharedMemorySize, RING_END));
    quadratic_hopper_kernel<<<(unsigned)(n_units < n_sms ? n_units : n_sms), THREADS, RING_END,
                              b->lanes[0].stream>>>(maps, args, (int)n_units);
    LAUNCH_TRY(b);
    return 0;
}
