// SPDX-License-Identifier: Apache-2.0
/*
 * The experts' gate and up projections with SwiGLU on Hopper: one kernel for all experts, so that
 * neither gathered tokens nor gate and up go through memory.
 *
 * A block stays and takes every gridDim'th tile: 128 slots of one expert times 128 columns of y,
 * for which 128 rows of gate and 128 of up are its b. Tiles of the same slots follow one another,
 * so that what runs at a time reads some 17 MB, which the second cache holds. One warpgroup
 * brings 64 columns of both operands at a time into a ring: weights by tensor map, tokens row by
 * row with cp.async, each row from where order says. Two warpgroups multiply, 64 slots each; gate
 * and up of a value end in the same thread.
 * Numerics: bf16 in, f32 accumulation over n_in in its order, SwiGLU in f32, one rounding to bf16.
 * A row's bytes depend on nothing but the row and the weights.
 */
#include "kernels/cuda/hopper/tile.cuh"

#include <errno.h>
#include <limits.h>
#include <string.h>

enum {
    WIDTH = COLUMNS / 2,        /* of a tile of y */
    OUT_BYTES = 16 * WIDTH * 2, /* a warp's part of it */
    OUT = (RING_END + 127) / 128 * 128,
    SHARED = OUT + WARPS * OUT_BYTES,
    MAX_EXPERTS = 1024,
};

struct gated_args {
    bf16 *y;
    const bf16 *x;
    const int *order; /* NULL: slot s reads row s */
    int n_source, n_in, n_out, n_experts;
    int offsets[MAX_EXPERTS + 1];
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

/* -------- tiles -------- */

struct tile {
    int expert, column;
    int first, rows; /* slots; rows of ROWS at most count */
};

/* Finds tiles by number, which may only rise. */
struct tile_finder {
    int expert, before; /* tiles of earlier experts */

    __device__ __forceinline__ bool find(const struct gated_args &args, int number,
                                         struct tile *ret_tile) {
        int n_columns = args.n_out / WIDTH;

        for (; expert < args.n_experts; expert++) {
            int first = args.offsets[expert], rows = args.offsets[expert + 1] - first;
            int count = (rows + ROWS - 1) / ROWS * n_columns, at = number - before;

            if (at < count) {
                int skipped = at / n_columns * ROWS;

                *ret_tile = {expert, at % n_columns * WIDTH, first + skipped, rows - skipped};
                return true;
            }
            before += count;
        }
        return false;
    }
};

/* -------- operands -------- */

__device__ __forceinline__ void copy_weights(unsigned to, const CUtensorMap *map, unsigned barrier,
                                             int column, int row) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%3, %4}], [%2];\n" ::"r"(to),
                 "l"(map), "r"(barrier), "r"(column), "r"(row)
                 : "memory");
}

/* 16 bytes, or as many zeros. */
__device__ __forceinline__ void copy_chunk(unsigned to, const bf16 *from, bool there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(to), "l"(from),
                 "r"(there ? 16 : 0)
                 : "memory");
}

/* Waits until all but the last PENDING groups of this thread's chunks are there for wgmma. */
template <int PENDING> __device__ __forceinline__ void chunks_wait() {
    asm volatile("cp.async.wait_group %0;\n"
                 "fence.proxy.async.shared::cta;\n" ::"n"(PENDING)
                 : "memory");
    __syncwarp();
}

/* The rows of a tile of which a thread copies one chunk: 16 apart. */
struct token_rows {
    unsigned at[ROWS / 16], there; /* a bit each */

    __device__ __forceinline__ void find(const struct gated_args &args, const struct tile &tile,
                                         int line) {
        there = 0;
#pragma unroll
        for (int i = 0; i < ROWS / 16; i++) {
            int row = line + 16 * i;

            at[i] = 0;
            if (row >= tile.rows)
                continue;
            at[i] = args.order ? args.order[tile.first + row] : tile.first + row;
            if (at[i] >= (unsigned)args.n_source)
                at[i] = 0; /* the contract forbids it; never read out of bounds all the same */
            there |= 1u << i;
        }
    }
};

/* The warpgroup that fills the ring. A slot's tokens are there one step after they were asked for.
 */
__device__ __forceinline__ void copy_all(unsigned shared, const CUtensorMap *map,
                                         const struct gated_args &args) {
    int chunk = threadIdx.x % 8, line = threadIdx.x / 8, signalled = 0;
    unsigned to = line * PANEL_ROW + (chunk ^ line % 8) * 16; /* the swizzle */
    bool leads = threadIdx.x % 32 == 0, pending = false;
    struct ring_place<SLOTS> place = ring_first_free();
    struct tile_finder finder = {};
    struct token_rows rows;
    struct tile tile;

    for (int n = blockIdx.x; finder.find(args, n, &tile); n += gridDim.x) {
        int gate = tile.expert * 2 * args.n_out + tile.column;

        rows.find(args, tile, line);
        for (int k = 0; k < args.n_in; k += PANEL) {
            unsigned slot = shared + place.slot * SLOT_BYTES;
            unsigned full = shared + FULL + place.slot * 8;

            barrier_wait(shared + FREE + place.slot * 8, place.turn);
            if (threadIdx.x == 0) {
                barrier_expect(full, B_BYTES);
                copy_weights(slot + A_BYTES, map, full, k, gate);
                copy_weights(slot + A_BYTES + B_BYTES / 2, map, full, k, gate + args.n_out);
            }
            __syncwarp();
#pragma unroll
            for (int i = 0; i < ROWS / 16; i++)
                copy_chunk(slot + to + i * 16 * PANEL_ROW,
                           args.x + (size_t)rows.at[i] * args.n_in + k + chunk * 8,
                           rows.there >> i & 1);
            asm volatile("cp.async.commit_group;\n" ::: "memory");
            if (pending) {
                chunks_wait<1>();
                if (leads)
                    barrier_arrive(shared + FULL + signalled * 8);
            }
            pending = true;
            signalled = place.slot;
            place.advance();
        }
    }
    chunks_wait<0>();
    if (pending && leads)
        barrier_arrive(shared + FULL + signalled * 8);
}

/* -------- results -------- */

__device__ __forceinline__ float swiglu(float gate, float up) {
    return __fdividef(gate, 1.0f + __expf(-gate)) * up;
}

__device__ __forceinline__ unsigned swiglu_pair(const float gate[2], const float up[2]) {
    __nv_bfloat162 pair = __floats2bfloat162_rn(swiglu(gate[0], up[0]), swiglu(gate[1], up[1]));

    return *reinterpret_cast<unsigned *>(&pair);
}

/*
 * A warp's 16 rows of y, of which @rows are there, through @out in shared memory, whose chunks are
 * swizzled by row.
 */
__device__ __forceinline__ void store_rows(const float (&d)[128], unsigned out, bf16 *y, int n_out,
                                           int rows) {
    int lane = threadIdx.x % 32;

#pragma unroll
    for (int j = 0; j < WIDTH / 8; j += 2) {
        int row = lane % 16, chunk = j + lane / 16;
        const float *gate = d + j * 4, *up = gate + 64;

        asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};\n" ::"r"(
                         out + row * WIDTH * 2 + (chunk ^ row % 8) * 16),
                     "r"(swiglu_pair(gate, up)), "r"(swiglu_pair(gate + 2, up + 2)),
                     "r"(swiglu_pair(gate + 4, up + 4)), "r"(swiglu_pair(gate + 6, up + 6))
                     : "memory");
    }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < 8; i++) {
        int row = 2 * i + lane / 16, chunk = lane % 16;
        uint4 v;

        asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];\n"
                     : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                     : "r"(out + row * WIDTH * 2 + (chunk ^ row % 8) * 16)
                     : "memory");
        if (row < rows)
            *reinterpret_cast<uint4 *>(y + (size_t)row * n_out + chunk * 8) = v;
    }
    __syncwarp();
}

/* The warpgroups that multiply: number @group of them. */
__device__ __forceinline__ void compute_all(unsigned shared, const struct gated_args &args,
                                            int group) {
    int warp = group * 4 + threadIdx.x % WARPGROUP / 32;
    struct ring_place<SLOTS> place = {};
    struct tile_finder finder = {};
    struct tile tile;
    float d[128];

    for (int n = blockIdx.x; finder.find(args, n, &tile); n += gridDim.x) {
        size_t first = tile.first + warp * 16;

        ring_end_tile(d, shared, ring_multiply(d, shared, group, args.n_in / PANEL, place));
        store_rows(d, shared + OUT + warp * OUT_BYTES, args.y + first * args.n_out + tile.column,
                   args.n_out, tile.rows - warp * 16);
    }
}

#endif

__global__ void __launch_bounds__(THREADS, 1)
    expert_swiglu_hopper_kernel(const __grid_constant__ CUtensorMap map,
                                const __grid_constant__ struct gated_args args) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    extern __shared__ __align__(1024) unsigned char memory[];
    unsigned shared = (unsigned)__cvta_generic_to_shared(memory);
    int group = __shfl_sync(0xffffffff, threadIdx.x / WARPGROUP, 0); /* known to be uniform */

    if (threadIdx.x == 0) {
        prefetch_map(&map);
        ring_init(shared, 1 + WARPGROUP / 32);
    }
    __syncthreads();
    if (group == 0) {
        registers_drop<56>();
        copy_all(shared, &map, args);
    } else {
        registers_raise<224>();
        compute_all(shared, args, group - 1);
    }
#endif
}

/* -------- on the host -------- */

static long count_tiles(const int32_t *offsets, int n_experts, int n_out) {
    long n = 0;

    for (int e = 0; e < n_experts; e++)
        n += ((long)offsets[e + 1] - offsets[e] + ROWS - 1) / ROWS;
    return n * (n_out / WIDTH);
}

bool expert_swiglu_hopper_takes(struct cuda_backend *b, const int32_t *offsets, int n_experts,
                                int n_in, int n_out) {
    return n_experts <= MAX_EXPERTS && n_in % PANEL == 0 && n_out % WIDTH == 0 &&
           (long)n_experts * 2 * n_out <= INT_MAX &&
           count_tiles(offsets, n_experts, n_out) <= INT_MAX - (1 << 16) &&
           hopper_runs(b, (const void *)expert_swiglu_hopper_kernel);
}

int expert_swiglu_hopper(struct cuda_backend *b, bf16 *y, const bf16 *x, const int *order,
                         int n_source, const bf16 *w, const int32_t *offsets, int n_experts,
                         int n_in, int n_out) {
    struct gated_args args;
    long n_tiles = count_tiles(offsets, n_experts, n_out);
    struct tile_view view = {};
    CUtensorMap map;
    int n_sms;

    if (!n_tiles)
        return 0;
    view.at = w;
    view.n_dims = 2;
    view.extent[0] = n_in;
    view.extent[1] = (uint64_t)n_experts * 2 * n_out;
    view.stride[0] = n_in * sizeof(bf16);
    view.box[0] = PANEL;
    view.box[1] = WIDTH;
    TRY(tensor_map(b, view, &map));
    args.y = y;
    args.x = x;
    args.order = order;
    args.n_source = n_source;
    args.n_in = n_in;
    args.n_out = n_out;
    args.n_experts = n_experts;
    memcpy(args.offsets, offsets, ((size_t)n_experts + 1) * sizeof(*offsets));
    CUDA_TRY(b, cudaDeviceGetAttribute(&n_sms, cudaDevAttrMultiProcessorCount, b->device));
    CUDA_TRY(b, cudaFuncSetAttribute(expert_swiglu_hopper_kernel,
                                     cudaFuncAttributeMaxDynamicSharedMemorySize, SHARED));
    expert_swiglu_hopper_kernel<<<(unsigned)(n_tiles < n_sms ? n_tiles : n_sms), THREADS, SHARED,
                                  b->lanes[0].stream>>>(map, args);
    LAUNCH_TRY(b);
    return 0;
}
