// SPDX-License-Identifier: Apache-2.0
/*
 * The edges of gptq(): weights come to the column loop transposed and permuted, codes leave it in
 * the model's order. Tiles of 64 x 64 go through shared memory, so that both sides are read and
 * written in whole lines.
 */
#include "kernels/cuda/gptq/gptq.cuh"

enum { TILE = 64 };

/* inverse[perm[i]] = i, and the group of each column */
__global__ void gptq_index_kernel(const struct gptq_args args) {
    int i = blockIdx.x * 256 + threadIdx.x, column;
    size_t at = (size_t)blockIdx.y * args.n;

    if (i >= args.n)
        return;
    column = args.perm[at + i];
    if ((unsigned)column >= (unsigned)args.n)
        return;
    args.inverse[at + column] = i;
    args.g_idx[at + column] = (args.static_groups ? column : i) / args.grid.groupsize;
}

__global__ void gptq_diagonal_kernel(const struct gptq_args args) {
    int i = blockIdx.x * 256 + threadIdx.x;
    size_t g = blockIdx.y, n = args.n;

    if (i < args.n)
        args.diagonal[g * n + i] = args.h[(g * n + i) * n + i];
}

/* wt[inverse[column]][row] = w[row][column], tiles of 64 x 64 through shared memory */
__global__ void gptq_load_kernel(const struct gptq_args args) {
    __shared__ float tile[TILE][TILE + 1]; /* [column][row] */
    size_t matrix = (size_t)blockIdx.z * args.rows * args.n;
    int row0 = blockIdx.y * TILE, column0 = blockIdx.x * TILE;

    for (int i = threadIdx.x; i < TILE * TILE; i += 256) {
        int row = row0 + i / TILE, column = column0 + i % TILE;

        if (row < args.rows && column < args.n)
            tile[i % TILE][i / TILE] =
                __bfloat162float(args.w[matrix + (size_t)row * args.n + column]);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < TILE * TILE; i += 256) {
        int column = column0 + i / TILE, row = row0 + i % TILE;

        if (row < args.rows && column < args.n) {
            int to = args.inverse[(size_t)blockIdx.z * args.n + column];

            args.wt[matrix + (size_t)to * args.rows + row] = tile[i / TILE][i % TILE];
        }
    }
}

/* codes and dq from codes_t, scales and zeros, in the model's order */
__global__ void gptq_store_kernel(const struct gptq_args args) {
    __shared__ unsigned char tile[TILE][TILE + 4]; /* [column][row] */
    __shared__ int groups[TILE];
    size_t matrix = (size_t)blockIdx.z * args.rows * args.n;
    int row0 = blockIdx.y * TILE, column0 = blockIdx.x * TILE;

    if (threadIdx.x < TILE && column0 + threadIdx.x < args.n)
        groups[threadIdx.x] = args.g_idx[(size_t)blockIdx.z * args.n + column0 + threadIdx.x];
    for (int i = threadIdx.x; i < TILE * TILE; i += 256) {
        int column = column0 + i / TILE, row = row0 + i % TILE;

        if (row < args.rows && column < args.n) {
            int from = args.inverse[(size_t)blockIdx.z * args.n + column];

            tile[i / TILE][i % TILE] = args.codes_t[matrix + (size_t)from * args.rows + row];
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < TILE * TILE; i += 256) {
        int row = row0 + i / TILE, column = column0 + i % TILE;

        if (row < args.rows && column < args.n) {
            size_t grids = (size_t)blockIdx.z * args.n_groups * args.rows + row;
            size_t supers = (size_t)blockIdx.z * (args.n / GRID_SUPER) * args.rows + row;
            size_t to = matrix + (size_t)row * args.n + column;
            unsigned char code = tile[i % TILE][i / TILE];
            struct point_scale at =
                grid_at(args.scales + grids, args.zeros + grids, units_from(args.units, supers),
                        groups[i % TILE], args.rows);

            args.codes[to] = code;
            args.dq[to] = __float2bfloat16_rn(grid_weight((float)code, at));
        }
    }
}

int gptq_diagonal(struct cuda_backend *b, const struct gptq_args &args) {
    gptq_diagonal_kernel<<<dim3(blocks_for(args.n, 256), args.G), 256, 0, b->lanes[0].stream>>>(
        args);
    LAUNCH_TRY(b);
    return 0;
}

int gptq_load(struct cuda_backend *b, const struct gptq_args &args) {
    cudaStream_t stream = b->lanes[0].stream;
    dim3 tiles(blocks_for(args.n, TILE), blocks_for(args.rows, TILE), args.G);

    gptq_index_kernel<<<dim3(blocks_for(args.n, 256), args.G), 256, 0, stream>>>(args);
    LAUNCH_TRY(b);
    gptq_load_kernel<<<tiles, 256, 0, stream>>>(args);
    LAUNCH_TRY(b);
    return 0;
}

int gptq_store(struct cuda_backend *b, const struct gptq_args &args) {
    dim3 tiles(blocks_for(args.n, TILE), blocks_for(args.rows, TILE), args.G);

    gptq_store_kernel<<<tiles, 256, 0, b->lanes[0].stream>>>(args);
    LAUNCH_TRY(b);
    return 0;
}
