// SPDX-License-Identifier: Apache-2.0
/*
 * gptq(): the column loop for all rows of all matrices at once (arXiv 2210.17323, algorithm 1).
 *
 * Weights live transposed and permuted in scratch, f32 [G, n, rows], so that neighbouring threads
 * touch neighbouring words. One thread owns a row. A block is at most 128 columns and ends where a
 * group ends, the factor's block sits in shared memory; within a block a step of 32 columns is
 * held in registers, its errors then update the rest of the block at once. After a block one
 * batched f32 product updates the rest of its panel of 512 columns, after a panel another all
 * later columns: half of the traffic of updating them after each block. No step, block or panel
 * goes on past a group's start unless it holds the whole group, so a grid always comes from
 * weights that carry every update so far.
 *
 * Numerics: f32 throughout, no TF32; errors are divided by the diagonal by its reciprocal.
 * Memory a block: the step's columns are read and written at most four times.
 * scratch, for the matrices that go through it at once (at most 512 MiB of w, or one): w f32
 * [n, rows]; errors f32 [512, rows]; codes u8 [n, rows]; the inverse of perm i32 [n]; the
 * diagonal of h f32 [n].
 */
#include "kernels/cuda/grid.cuh"

enum {
    PANEL = 512,
    BLOCK = 128,
    STEP = 32,
    THREADS = 128,
    TILE = 64,
    SHARED = (BLOCK * BLOCK + BLOCK) * 4
};

static const size_t GPTQ_CHUNK = 512 << 20;

struct gptq_layout {
    int G;                                          /* matrices at once */
    size_t errors, codes, inverse, diagonal, total; /* offsets in scratch, bytes */
};

static struct gptq_layout gptq_layout(int G, int rows, int n) {
    struct gptq_layout at = {};
    size_t one = bytes_of(4, {n, rows}), w, errors;

    if (one > SIZE_MAX / 512 || G < 1 || n < 1 || rows < 1) {
        at.total = SIZE_MAX;
        return at;
    }
    at.G = one >= GPTQ_CHUNK ? 1 : (int)min((size_t)G, GPTQ_CHUNK / one);
    G = at.G;
    w = one * G;
    errors = bytes_of(4, {G, PANEL, rows});
    at.errors = (w + 255) / 256 * 256;
    at.codes = at.errors + (errors + 255) / 256 * 256;
    at.inverse = at.codes + (w / 4 + 255) / 256 * 256;
    at.diagonal = at.inverse + bytes_of(4, {G, n});
    at.total = at.diagonal + bytes_of(4, {G, n});
    return at;
}

size_t cuda_gptq_scratch(struct backend *base, int G, int rows, int n) {
    (void)base;
    return gptq_layout(G, rows, n).total;
}

/* What every kernel of the column loop works on. */
struct gptq_args {
    const bf16 *w;
    const float *u, *h; /* h: its diagonal is read for GRID_HESSIAN */
    const int *perm;
    int *inverse;
    float *diagonal; /* [G, n], in the model's order */
    float *wt, *errors;
    unsigned char *codes_t;
    unsigned char *codes; /* the results, as in struct quantized */
    __half *scales;
    unsigned char *zeros;
    int *g_idx;
    bf16 *dq;
    struct grid_args grid;
    int G, rows, n, n_groups;
    bool static_groups;
};

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
            size_t grid = ((size_t)blockIdx.z * args.n_groups + groups[i % TILE]) * args.rows + row;
            size_t to = matrix + (size_t)row * args.n + column;
            unsigned char code = tile[i % TILE][i / TILE];

            args.codes[to] = code;
            args.dq[to] = __float2bfloat16_rn(__half2float(args.scales[grid]) *
                                              ((float)code - (float)args.zeros[grid]));
        }
    }
}

/* One row of one matrix, as its thread sees it. */
struct gptq_row {
    float *wt;              /* column c at wt[c * rows] */
    float *errors;          /* column c of the panel at errors[c * rows] */
    unsigned char *codes_t; /* column c at codes_t[c * rows] */
    __half *scales;         /* group i at scales[i * rows] */
    unsigned char *zeros;
    const int *perm;
    struct point_scale at; /* the grid of the current group */
};

/* The best grid of the shrunken ranges of the group whose columns stand at @w. */
template <bool WEIGHTED>
__device__ __noinline__ struct point_scale row_search(const float *w, size_t rows,
                                                      const int *columns, const float *diagonal,
                                                      float lo, float hi, struct grid_args grid) {
    struct point_scale best = grid_of_range(lo, hi, 1.0f, grid);
    float least = INFINITY;

    for (int step = 0; step < SHRINK_STEPS; step += TRIALS) {
        struct trials t;

        trials_begin(t, lo, hi, step, grid);
#pragma unroll 4
        for (int i = 0; i < grid.groupsize; i++)
            trials_add<WEIGHTED>(t, w[i * rows], WEIGHTED ? diagonal[columns[i]] : 0.0f);
        trials_end(t, least, best);
    }
    return best;
}

/* The grid of the group whose first column is @column; @diagonal of the row's matrix. */
__device__ void row_grid(struct gptq_row &row, const struct gptq_args &args, int column,
                         const float *diagonal) {
    const float *w = row.wt + (size_t)column * args.rows;
    const int *columns = row.perm + column;
    float lo = 0.0f, hi = 0.0f;
    size_t to = (size_t)(column / args.grid.groupsize) * args.rows;

#pragma unroll 8
    for (int i = 0; i < args.grid.groupsize; i++) {
        float v = w[(size_t)i * args.rows];

        lo = fminf(lo, v);
        hi = fmaxf(hi, v);
    }
    if (args.grid.fit == GRID_HESSIAN)
        row.at = row_search<true>(w, args.rows, columns, diagonal, lo, hi, args.grid);
    else if (args.grid.fit == GRID_MSE)
        row.at = row_search<false>(w, args.rows, columns, diagonal, lo, hi, args.grid);
    else
        row.at = grid_of_range(lo, hi, 1.0f, args.grid);
    row.scales[to] = __float2half_rn(row.at.scale);
    row.zeros[to] = (unsigned char)row.at.zero;
}

__device__ __forceinline__ void row_grid_of_group(struct gptq_row &row,
                                                  const struct gptq_args &args, int group) {
    row.at.scale = __half2float(row.scales[(size_t)group * args.rows]);
    row.at.zero = (float)row.zeros[(size_t)group * args.rows];
}

/* The rest of the block, from its column @from to @width, after W errors from column @s on. */
template <int W>
__device__ __forceinline__ void row_update(struct gptq_row &row, const float *u,
                                           const float errors[W], size_t rows, int c0, int s,
                                           int width) {
    enum { AT_ONCE = W == 1 ? 1 : 8 };

    for (int j = s + W; j < width; j += AT_ONCE) {
        float v[AT_ONCE];

#pragma unroll
        for (int k = 0; k < AT_ONCE; k++)
            v[k] = j + k < width ? row.wt[(size_t)(c0 + j + k) * rows] : 0.0f;
#pragma unroll
        for (int i = 0; i < W; i++) {
            const float *at = u + (s + i) * BLOCK + j;

#pragma unroll
            for (int k = 0; k < AT_ONCE; k += 4) {
                if (W == 1) {
                    v[0] -= errors[i] * at[0];
                } else {
                    float4 f = *(const float4 *)(at + k);

                    v[k] -= errors[i] * f.x;
                    v[k + 1] -= errors[i] * f.y;
                    v[k + 2] -= errors[i] * f.z;
                    v[k + 3] -= errors[i] * f.w;
                }
            }
        }
#pragma unroll
        for (int k = 0; k < AT_ONCE; k++)
            if (j + k < width)
                row.wt[(size_t)(c0 + j + k) * rows] = v[k];
    }
}

/* W columns in registers, from column @s of the block that starts at @c0. */
template <int W, bool STATIC>
__device__ __forceinline__ void row_step(struct gptq_row &row, const struct gptq_args &args,
                                         const float *u, const float *reciprocal, int c0, int s,
                                         int width) {
    float w[W], errors[W];
    size_t rows = args.rows;

#pragma unroll
    for (int i = 0; i < W; i++)
        w[i] = row.wt[(size_t)(c0 + s + i) * rows];
#pragma unroll
    for (int i = 0; i < W; i++) {
        float code;

        if (STATIC)
            row_grid_of_group(row, args, row.perm[c0 + s + i] / args.grid.groupsize);
        code = grid_code(w[i], row.at, args.grid.maxq);
        errors[i] = (w[i] - row.at.scale * (code - row.at.zero)) * reciprocal[s + i];
        row.codes_t[(size_t)(c0 + s + i) * rows] = (unsigned char)code;
        row.errors[(size_t)(s + i) * rows] = errors[i];
#pragma unroll
        for (int j = i + 1; j < W; j++)
            w[j] -= errors[i] * u[(s + i) * BLOCK + s + j];
    }
    row_update<W>(row, u, errors, rows, c0, s, width);
}

/* Columns c0 .. c0 + width - 1 of all rows of all matrices. */
template <bool STATIC>
__global__ void __launch_bounds__(THREADS)
    gptq_block_kernel(const struct gptq_args args, int panel, int c0, int width) {
    extern __shared__ float u[]; /* [BLOCK][BLOCK], then the reciprocals of its diagonal */
    float *reciprocal = u + BLOCK * BLOCK;
    size_t g = blockIdx.y, at = blockIdx.x * THREADS + threadIdx.x, matrix = g * args.rows * args.n;
    const float *from = args.u + (g * args.n + c0) * args.n + c0;
    struct gptq_row row;

    for (int i = threadIdx.x; i < BLOCK * BLOCK; i += THREADS) {
        int k = i / BLOCK, j = i % BLOCK;

        u[i] = k <= j && j < width ? from[(size_t)k * args.n + j] : 0.0f;
    }
    __syncthreads();
    if (threadIdx.x < width)
        reciprocal[threadIdx.x] = 1.0f / u[threadIdx.x * BLOCK + threadIdx.x];
    __syncthreads();
    if (at >= args.rows)
        return;
    row.wt = args.wt + matrix + at;
    row.errors = args.errors + (g * PANEL + c0 - panel) * args.rows + at;
    row.codes_t = args.codes_t + matrix + at;
    row.scales = args.scales + g * args.n_groups * args.rows + at;
    row.zeros = args.zeros + g * args.n_groups * args.rows + at;
    row.perm = args.perm + g * args.n;
    row.at = {1.0f, 0.0f};
    for (int s = 0; s < width;) {
        int left = width - s, in_group = (c0 + s) % args.grid.groupsize;

        if (!STATIC) {
            if (!in_group)
                row_grid(row, args, c0 + s, args.diagonal + g * args.n);
            else if (!s)
                row_grid_of_group(row, args, (c0 + s) / args.grid.groupsize);
            left = min(left, args.grid.groupsize - in_group);
        }
        if (left >= STEP) {
            row_step<STEP, STATIC>(row, args, u, reciprocal, c0, s, width);
            s += STEP;
        } else if (left >= 8) {
            row_step<8, STATIC>(row, args, u, reciprocal, c0, s, width);
            s += 8;
        } else {
            row_step<1, STATIC>(row, args, u, reciprocal, c0, s, width);
            s++;
        }
    }
}

/*
 * wt[to .. end - 1] -= u[from .. to - 1][to .. end - 1]' errors, for every matrix; @panel is the
 * column at which errors start.
 */
static int update_later(struct cuda_backend *b, const struct gptq_args &args, int panel, int from,
                        int to, int end) {
    const float minus = -1.0f, one = 1.0f;
    int rows = args.rows, n = args.n;

    if (to == end)
        return 0;
    BLAS_TRY(b, cublasSgemmStridedBatched(
                    b->lanes[0].blas, CUBLAS_OP_N, CUBLAS_OP_T, rows, end - to, to - from, &minus,
                    args.errors + (size_t)(from - panel) * rows, rows, (long long)PANEL * rows,
                    args.u + (size_t)from * n + to, n, (long long)n * n, &one,
                    args.wt + (size_t)to * rows, rows, (long long)n * rows, args.G));
    return 0;
}

/* At most @most columns from @c0 on: whole groups, or a part of one that ends with it. */
static int extent(const struct gptq_args &args, int c0, int most) {
    int groupsize = args.grid.groupsize, left = args.n - c0;

    if (!args.static_groups && groupsize <= most)
        most = most / groupsize * groupsize;
    else if (!args.static_groups)
        left = min(left, groupsize - c0 % groupsize);
    return min(left, most);
}

/* The columns from @panel to @end, block by block. */
static int run_panel(struct cuda_backend *b, const struct gptq_args &args, int panel, int end) {
    dim3 grid(blocks_for(args.rows, THREADS), args.G);
    auto kernel = args.static_groups ? gptq_block_kernel<true> : gptq_block_kernel<false>;

    CUDA_TRY(b, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, SHARED));
    for (int c0 = panel, width; c0 < end; c0 += width) {
        width = min(extent(args, c0, BLOCK), end - c0);
        kernel<<<grid, THREADS, SHARED, b->lanes[0].stream>>>(args, panel, c0, width);
        LAUNCH_TRY(b);
        TRY(update_later(b, args, panel, c0, c0 + width, end));
    }
    return 0;
}

/* The diagonal of h, and the grids of static groups. */
static int prepare_grids(struct cuda_backend *b, const struct gptq_args &args,
                         const struct grid *grid) {
    struct quantized q = {};

    if (grid->fit == GRID_HESSIAN) {
        gptq_diagonal_kernel<<<dim3(blocks_for(args.n, 256), args.G), 256, 0, b->lanes[0].stream>>>(
            args);
        LAUNCH_TRY(b);
    }
    if (!args.static_groups)
        return 0;
    q.scales.at = (unsigned char *)args.scales;
    q.zeros.at = args.zeros;
    q.g_idx.at = (unsigned char *)args.g_idx;
    return grid_round(b, &q, NULL, args.w, args.diagonal, grid, false, args.G, args.rows, args.n);
}

static int run_panels(struct cuda_backend *b, const struct gptq_args &args) {
    cudaStream_t stream = b->lanes[0].stream;
    dim3 tiles(blocks_for(args.n, TILE), blocks_for(args.rows, TILE), args.G);

    gptq_index_kernel<<<dim3(blocks_for(args.n, 256), args.G), 256, 0, stream>>>(args);
    LAUNCH_TRY(b);
    gptq_load_kernel<<<tiles, 256, 0, stream>>>(args);
    LAUNCH_TRY(b);
    for (int panel = 0, end; panel < args.n; panel = end) {
        end = panel + extent(args, panel, PANEL);
        TRY(run_panel(b, args, panel, end));
        TRY(update_later(b, args, panel, panel, end, args.n));
    }
    gptq_store_kernel<<<tiles, 256, 0, stream>>>(args);
    LAUNCH_TRY(b);
    return 0;
}

int cuda_gptq(struct backend *base, const struct quantized *q, struct span dq, struct span w,
              struct span u, struct span perm, struct span h, const struct grid *grid,
              bool static_groups, int G, int rows, int n, struct span scratch) {
    struct cuda_backend *b = cuda_of(base);
    struct gptq_layout layout = gptq_layout(G, rows, n);
    struct gptq_args args = {};

    TRY(op_begin(b, "gptq", "G rows n groupsize wbits", G, rows, n, grid->groupsize, grid->wbits));
    if (G < 1 || rows < 1 || n < 1 || G > 65535 || rows > 65535 * TILE)
        return status_invalid(b, "1 to 65535 matrices of at most %d rows", 65535 * TILE);
    TRY(grid_check(b, grid, n));
    TRY(grid_needs(b, q, grid->groupsize, G, rows, n));
    TRY(op_needs(b, {{"dq", dq, bytes_of(2, {G, rows, n}), 2},
                     {"w", w, bytes_of(2, {G, rows, n}), 2},
                     {"u", u, bytes_of(4, {G, n, n}), 4},
                     {"perm", perm, bytes_of(4, {G, n}), 4},
                     {"scratch", scratch, layout.total, 16}}));
    if (grid->fit == GRID_HESSIAN)
        TRY(op_needs(b, {{"h", h, bytes_of(4, {G, n, n}), 4}}));
    args.diagonal = (float *)(scratch.at + layout.diagonal);
    args.inverse = (int *)(scratch.at + layout.inverse);
    args.wt = (float *)scratch.at;
    args.errors = (float *)(scratch.at + layout.errors);
    args.codes_t = scratch.at + layout.codes;
    args.grid = grid_args(grid);
    args.rows = rows;
    args.n = n;
    args.n_groups = n / grid->groupsize;
    args.static_groups = static_groups;
    for (int g = 0; g < G; g += layout.G) {
        size_t weights = (size_t)g * rows * n, grids = (size_t)g * args.n_groups * rows;

        args.G = min(layout.G, G - g);
        args.w = (const bf16 *)w.at + weights;
        args.u = (const float *)u.at + (size_t)g * n * n;
        args.h = (const float *)h.at + (size_t)g * n * n;
        args.perm = (const int *)perm.at + (size_t)g * n;
        args.codes = q->codes.at + weights;
        args.scales = (__half *)q->scales.at + grids;
        args.zeros = q->zeros.at + grids;
        args.g_idx = (int *)q->g_idx.at + (size_t)g * n;
        args.dq = (bf16 *)dq.at + weights;
        TRY(prepare_grids(b, args, grid));
        TRY(run_panels(b, args));
    }
    return 0;
}
