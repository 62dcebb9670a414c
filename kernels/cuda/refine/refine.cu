// SPDX-License-Identifier: Apache-2.0
/*
 * refine(): coordinate descent on codes and least squares on scales (kernels/backend.h), for as
 * many matrices at once as gptq() has.
 *
 * The gradient e H - w d is made anew at first and after each fit of the scales; in between the
 * changes of each block of columns are added (sweep.cu). Objectives are summed in f64.
 * scratch, for the matrices that go through it at once (at most 512 MiB of gradients and of
 * systems each, or one): what struct refine_args lists, from gradient on. The matrix H is in the
 * caller's square, and d before it, while w d is made.
 */
#include "kernels/cuda/factor.cuh"
#include "kernels/cuda/refine/refine.cuh"

enum { BLOCK = 128, TILE = 64 };

static const size_t REFINE_CHUNK = 512 << 20;

struct refine_layout {
    int G; /* matrices at once */
    /* offsets in scratch, bytes; e_low follows e_high without a gap */
    size_t gradient, drift, wt, e, work, codes, scales, inverse, groups, members, system, slope,
        step, panel, steps, damp, added, total;
};

static size_t take(struct refine_layout *at, size_t size) {
    size_t start = at->total;

    at->total += (size + 255) / 256 * 256;
    return start;
}

static struct refine_layout refine_layout(int groupsize, int G, int rows, int n) {
    struct refine_layout at = {};
    long n_groups = groupsize > 0 ? n / groupsize : 0;
    size_t one = bytes_of(4, {n, rows});
    size_t system = bytes_of(4, {n_groups * (n_groups + 1) / 2, rows});
    size_t panel = bytes_of(4, {groupsize, n}), steps = bytes_of(4, {groupsize, rows});
    size_t most = max(one, system), grids = bytes_of(4, {n_groups, rows});

    if (max(most, max(panel, steps)) > SIZE_MAX / 65536 / 64 || G < 1 || n < 1 || rows < 1 ||
        groupsize < 1) {
        at.total = SIZE_MAX;
        return at;
    }
    at.G = most >= REFINE_CHUNK ? 1 : (int)min((size_t)G, REFINE_CHUNK / most);
    G = at.G;
    at.gradient = take(&at, one * G);
    at.drift = take(&at, one * G);
    at.wt = take(&at, one / 2 * G);
    at.e = take(&at, one * G);
    at.work = take(&at, bytes_of(4, {G, BLOCK, rows}));
    at.codes = take(&at, one / 4 * G);
    at.scales = take(&at, grids / 2 * G);
    at.inverse = take(&at, bytes_of(4, {G, n}));
    at.groups = take(&at, bytes_of(4, {G, n}));
    at.members = take(&at, bytes_of(4, {G, n}));
    at.system = take(&at, system * G);
    at.slope = take(&at, grids * G);
    at.step = take(&at, grids * G);
    at.panel = take(&at, panel * G);
    at.steps = take(&at, steps * G);
    at.damp = take(&at, bytes_of(4, {G}));
    at.added = take(&at, bytes_of(4, {G}));
    return at;
}

size_t cuda_refine_scratch(struct backend *base, const struct refinement *r, int G, int rows,
                           int n) {
    (void)base;
    return refine_layout(r->groupsize, G, rows, n).total;
}

/* -------- in the order of a sweep -------- */

/* The inverse of perm, the groups of columns, and the columns of groups, counted directly. */
__global__ void refine_index_kernel(const struct refine_args a) {
    __shared__ int others[256];
    int i = blockIdx.x * 256 + threadIdx.x, own = 0, rank = 0;
    const int *perm = a.perm + (size_t)blockIdx.y * a.n,
              *g_idx = a.g_idx + (size_t)blockIdx.y * a.n;
    size_t at = (size_t)blockIdx.y * a.n;

    if (i < a.n) {
        own = min(max(g_idx[min(max(perm[i], 0), a.n - 1)], 0), a.n_groups - 1);
        a.groups[at + i] = own;
        a.inverse[at + min(max(perm[i], 0), a.n - 1)] = i;
    }
    for (int first = 0; first < a.n; first += 256) {
        int j = first + threadIdx.x, count = min(a.n - first, 256);

        __syncthreads();
        if (j < a.n)
            others[threadIdx.x] = min(max(g_idx[min(max(perm[j], 0), a.n - 1)], 0), a.n_groups - 1);
        __syncthreads();
        for (int k = 0; k < count; k++)
            rank += others[k] < own || (others[k] == own && first + k < i);
    }
    if (i < a.n)
        a.members[at + rank] = i;
}

__device__ __forceinline__ void split(float value, bf16 *high, bf16 *low) {
    bf16 head = __float2bfloat16_rn(value);

    *high = head;
    *low = __float2bfloat16_rn(value - __bfloat162float(head));
}

/* high + low = m, permuted; of the lower triangle and damped when @added, else of all of it. */
__global__ void refine_split_kernel(const struct refine_args a, const float *m,
                                    const float *added) {
    int j = blockIdx.x * 256 + threadIdx.x, i = blockIdx.y;
    size_t g = blockIdx.z, n = a.n, to = (g * n + i) * n + j;
    int row, column;
    float value;

    if (j >= a.n)
        return;
    row = a.perm[g * n + i];
    column = a.perm[g * n + j];
    if ((unsigned)row >= (unsigned)a.n || (unsigned)column >= (unsigned)a.n)
        row = column = 0;
    if (!added) {
        value = m[(g * n + row) * n + column];
    } else {
        value = m[(g * n + max(row, column)) * n + min(row, column)];
        if (i == j)
            value = (value == 0.0f ? 1.0f : value) + added[g];
    }
    split(value, &a.high[to], &a.low[to]);
}

/* wt and codes, tiles of 64 x 64 through shared memory */
__global__ void refine_load_kernel(const struct refine_args a, const unsigned char *codes) {
    __shared__ bf16 w_tile[TILE][TILE + 2]; /* [column][row] */
    __shared__ unsigned char tile[TILE][TILE + 4];
    size_t matrix = refine_at(a, blockIdx.z);
    int row0 = blockIdx.y * TILE, column0 = blockIdx.x * TILE;

    for (int i = threadIdx.x; i < TILE * TILE; i += 256) {
        int row = row0 + i / TILE, column = column0 + i % TILE;

        if (row < a.rows && column < a.n) {
            w_tile[i % TILE][i / TILE] = a.w[matrix + (size_t)row * a.n + column];
            tile[i % TILE][i / TILE] = codes[matrix + (size_t)row * a.n + column];
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < TILE * TILE; i += 256) {
        int column = column0 + i / TILE, row = row0 + i % TILE;

        if (row < a.rows && column < a.n) {
            size_t to =
                matrix + (size_t)a.inverse[(size_t)blockIdx.z * a.n + column] * a.rows + row;

            a.wt[to] = w_tile[i / TILE][i % TILE];
            a.codes[to] = tile[i / TILE][i % TILE];
        }
    }
}

/* q - w of one element */
__device__ __forceinline__ float error_at(const struct refine_args &a, size_t g, int column,
                                          int row) {
    size_t at = refine_at(a, g) + (size_t)column * a.rows + row;

    return grid_weight((float)a.codes[at], refine_grid(a, g, a.groups[g * a.n + column], row)) -
           __bfloat162float(a.wt[at]);
}

__global__ void refine_error_kernel(const struct refine_args a) {
    int row = blockIdx.x * 128 + threadIdx.x, column = blockIdx.y;
    size_t g = blockIdx.z, at = refine_at(a, g) + (size_t)column * a.rows + row;

    if (row < a.rows)
        split(error_at(a, g, column, row), &a.e_high[at], &a.e_low[at]);
}

/* out[row] = e (gradient - w d); 32 rows a block, eight threads each */
__global__ void refine_objective_kernel(const struct refine_args a, float *out) {
    __shared__ double sums[8][32];
    int row = blockIdx.x * 32 + threadIdx.x;
    size_t g = blockIdx.y, first = refine_at(a, g) + row;
    double sum = 0;

    for (int i = threadIdx.y; i < a.n && row < a.rows; i += 8) {
        size_t at = first + (size_t)i * a.rows;
        double slope = (double)a.gradient[at] - (a.drift ? (double)a.drift[at] : 0.0);

        sum += (double)error_at(a, g, i, row) * slope;
    }
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y || row >= a.rows)
        return;
    for (int k = 1; k < 8; k++)
        sum += sums[k][threadIdx.x];
    out[g * a.rows + row] = (float)sum;
}

/* -------- products -------- */

int refine_product(struct cuda_backend *b, const struct refine_args &a, float *c, size_t c_stride,
                   const bf16 *x, size_t x_stride, const bf16 *y, int ld, size_t y_stride,
                   int columns, int k, float beta) {
    const float one = 1.0f;

    if (!k)
        return 0;
    BLAS_TRY(b, cublasGemmStridedBatchedEx(
                    b->lanes[0].blas, CUBLAS_OP_N, CUBLAS_OP_T, a.rows, columns, k, &one, x,
                    CUDA_R_16BF, a.rows, (long long)x_stride, y, CUDA_R_16BF, ld,
                    (long long)y_stride, &beta, c, CUDA_R_32F, a.rows, (long long)c_stride, a.G,
                    CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT));
    return 0;
}

int refine_add(struct cuda_backend *b, const struct refine_args &a, int c0, int columns, int k,
               float beta) {
    size_t all = (size_t)a.n * a.rows, square = (size_t)a.n * a.n;
    float *c = a.gradient + (size_t)c0 * a.rows;

    TRY(refine_product(b, a, c, all, a.e_high, all, a.high + c0, a.n, square, columns, k, beta));
    TRY(refine_product(b, a, c, all, a.e_low, all, a.high + c0, a.n, square, columns, k, 1.0f));
    return refine_product(b, a, c, all, a.e_high, all, a.low + c0, a.n, square, columns, k, 1.0f);
}

/* drift = w d, by way of the memory of H */
static int make_drift(struct cuda_backend *b, const struct refine_args &a, const float *d) {
    size_t all = (size_t)a.n * a.rows, square = (size_t)a.n * a.n;

    refine_split_kernel<<<dim3(blocks_for(a.n, 256), a.n, a.G), 256, 0, b->lanes[0].stream>>>(a, d,
                                                                                              NULL);
    LAUNCH_TRY(b);
    TRY(refine_product(b, a, a.drift, all, a.wt, all, a.high, a.n, square, a.n, a.n, 0.0f));
    return refine_product(b, a, a.drift, all, a.wt, all, a.low, a.n, square, a.n, a.n, 1.0f);
}

/* gradient = e H - w d, of codes and scales as they are */
static int make_gradient(struct cuda_backend *b, const struct refine_args &a) {
    cudaStream_t stream = b->lanes[0].stream;

    refine_error_kernel<<<dim3(blocks_for(a.rows, 128), a.n, a.G), 128, 0, stream>>>(a);
    LAUNCH_TRY(b);
    if (a.drift)
        CUDA_TRY(b, cudaMemcpyAsync(a.gradient, a.drift, (size_t)a.G * a.n * a.rows * 4,
                                    cudaMemcpyDeviceToDevice, stream));
    return refine_add(b, a, 0, a.n, a.n, a.drift ? -1.0f : 0.0f);
}

static int objective(struct cuda_backend *b, const struct refine_args &a, float *out) {
    refine_objective_kernel<<<dim3(blocks_for(a.rows, 32), a.G), dim3(32, 8), 0,
                              b->lanes[0].stream>>>(a, out);
    LAUNCH_TRY(b);
    return 0;
}

/* -------- results -------- */

/* codes and dq of the rows whose objective fell, in the model's order */
__global__ void refine_store_kernel(const struct refine_args a) {
    __shared__ unsigned char tile[TILE][TILE + 4]; /* [column][row] */
    __shared__ int groups[TILE];
    size_t g = blockIdx.z, matrix = refine_at(a, g);
    int row0 = blockIdx.y * TILE, column0 = blockIdx.x * TILE;

    if (threadIdx.x < TILE && column0 + threadIdx.x < a.n)
        groups[threadIdx.x] = a.groups[g * a.n + a.inverse[g * a.n + column0 + threadIdx.x]];
    for (int i = threadIdx.x; i < TILE * TILE; i += 256) {
        int column = column0 + i / TILE, row = row0 + i % TILE;

        if (row < a.rows && column < a.n)
            tile[i / TILE][i % TILE] =
                a.codes[matrix + (size_t)a.inverse[g * a.n + column] * a.rows + row];
    }
    __syncthreads();
    for (int i = threadIdx.x; i < TILE * TILE; i += 256) {
        int row = row0 + i / TILE, column = column0 + i % TILE;
        size_t at = g * a.rows + row;

        if (row < a.rows && column < a.n && a.after[at] < a.before[at]) {
            size_t to = matrix + (size_t)row * a.n + column;
            unsigned char code = tile[i % TILE][i / TILE];

            a.codes_out[to] = code;
            a.dq[to] = __float2bfloat16_rn(
                grid_weight((float)code, refine_grid(a, g, groups[i % TILE], row)));
        }
    }
}

/* The scales of those rows; then `after` says what is kept. */
__global__ void refine_finish_kernel(const struct refine_args a) {
    int row = blockIdx.x * 128 + threadIdx.x;
    size_t g = blockIdx.y, at = g * a.rows + row, grid = refine_grids(a, g) + row;

    if (row >= a.rows)
        return;
    if (!(a.after[at] < a.before[at])) {
        a.after[at] = a.before[at];
        return;
    }
    for (int i = 0; i < a.n_groups; i++)
        a.scales_out[grid + (size_t)i * a.rows] = a.scales[grid + (size_t)i * a.rows];
}

static int store(struct cuda_backend *b, const struct refine_args &a) {
    cudaStream_t stream = b->lanes[0].stream;

    refine_store_kernel<<<dim3(blocks_for(a.n, TILE), blocks_for(a.rows, TILE), a.G), 256, 0,
                          stream>>>(a);
    LAUNCH_TRY(b);
    refine_finish_kernel<<<dim3(blocks_for(a.rows, 128), a.G), 128, 0, stream>>>(a);
    LAUNCH_TRY(b);
    return 0;
}

/* -------- the op -------- */

/* All of @a's matrices; h, d and damp begin with them. */
static int refine_chunk(struct cuda_backend *b, const struct refine_args &a,
                        const struct refinement *r, const float *h, const float *d,
                        const float *damp_host, float *damp, float *added) {
    cudaStream_t stream = b->lanes[0].stream;
    dim3 tiles(blocks_for(a.n, TILE), blocks_for(a.rows, TILE), a.G);

    CUDA_TRY(b, cudaMemcpyAsync(damp, damp_host, 4 * (size_t)a.G, cudaMemcpyHostToDevice, stream));
    damping_launch(stream, added, damp, h, a.G, a.n);
    LAUNCH_TRY(b);
    CUDA_TRY(b, cudaMemcpyAsync(a.scales, a.scales_out, (size_t)a.G * a.n_groups * a.rows * 2,
                                cudaMemcpyDeviceToDevice, stream));
    refine_index_kernel<<<dim3(blocks_for(a.n, 256), a.G), 256, 0, stream>>>(a);
    LAUNCH_TRY(b);
    refine_load_kernel<<<tiles, 256, 0, stream>>>(a, a.codes_out);
    LAUNCH_TRY(b);
    if (d)
        TRY(make_drift(b, a, d));
    refine_split_kernel<<<dim3(blocks_for(a.n, 256), a.n, a.G), 256, 0, stream>>>(a, h, added);
    LAUNCH_TRY(b);
    TRY(make_gradient(b, a));
    TRY(objective(b, a, a.before));
    for (int round = 0; round < r->rounds; round++) {
        for (int i = 0; i < r->sweeps; i++)
            TRY(refine_sweep(b, a, i == 0));
        if (r->sweeps)
            TRY(make_gradient(b, a));
        if (a.units.d)
            continue;
        TRY(refine_scales(b, a));
        TRY(make_gradient(b, a));
    }
    TRY(objective(b, a, a.after));
    return store(b, a);
}

static int check(struct cuda_backend *b, const struct refinement *r, size_t scratch_size, int G,
                 int rows, int n, struct span scratch) {
    struct grid grid = {r->wbits, r->groupsize, false, GRID_MINMAX, 0};

    TRY(op_begin(b, "refine", "G rows n groupsize wbits", G, rows, n, r->groupsize, r->wbits));
    if (G < 1 || rows < 1 || n < 1 || G > 65535 || n > 65535 || rows > 65535 * TILE)
        return status_invalid(b, "1 to 65535 matrices of at most %d rows and 65535 columns",
                              65535 * TILE);
    if (r->sweeps < 0 || r->rounds < 0)
        return status_invalid(b, "sweeps and rounds are counts");
    TRY(grid_check(b, &grid, &r->q, n));
    if (r->q.d.size && GRID_SUPER % r->groupsize)
        return status_invalid(b, "groups of %d divide no super-block", r->groupsize);
    TRY(grid_needs(b, &r->q, r->groupsize, G, rows, n));
    if (r->d.size)
        TRY(op_needs(b, {{"d", r->d, bytes_of(4, {G, n, n}), 4}}));
    return op_needs(b, {{"dq", r->dq, bytes_of(2, {G, rows, n}), 2},
                        {"w", r->w, bytes_of(2, {G, rows, n}), 2},
                        {"h", r->h, bytes_of(4, {G, n, n}), 4},
                        {"perm", r->perm, bytes_of(4, {G, n}), 4},
                        {"square", r->square, bytes_of(4, {G, n, n}), 16},
                        {"before", r->before, bytes_of(4, {G, rows}), 4},
                        {"after", r->after, bytes_of(4, {G, rows}), 4},
                        {"scratch", scratch, scratch_size, 16}});
}

/* The arrays in scratch. */
static struct refine_args args_of(const struct refine_layout *at, const struct refinement *r,
                                  unsigned char *scratch, int rows, int n) {
    struct refine_args a = {};

    a.rows = rows;
    a.n = n;
    a.groupsize = r->groupsize;
    a.n_groups = n / r->groupsize;
    a.maxq = (float)((1 << r->wbits) - 1);
    a.gradient = (float *)(scratch + at->gradient);
    a.drift = r->d.size ? (float *)(scratch + at->drift) : NULL;
    a.wt = (bf16 *)(scratch + at->wt);
    a.e_high = (bf16 *)(scratch + at->e);
    a.e_low = a.e_high + (size_t)at->G * n * rows;
    a.product = (float *)(scratch + at->e);
    a.work = (float *)(scratch + at->work);
    a.codes = scratch + at->codes;
    a.scales = (__half *)(scratch + at->scales);
    a.inverse = (int *)(scratch + at->inverse);
    a.groups = (int *)(scratch + at->groups);
    a.members = (int *)(scratch + at->members);
    a.system = (float *)(scratch + at->system);
    a.slope = (float *)(scratch + at->slope);
    a.step = (float *)(scratch + at->step);
    a.panel = (bf16 *)(scratch + at->panel);
    a.steps = (bf16 *)(scratch + at->steps);
    return a;
}

int cuda_refine(struct backend *base, const struct refinement *r, int G, int rows, int n,
                struct span scratch) {
    struct cuda_backend *b = cuda_of(base);
    struct refine_layout layout = refine_layout(r->groupsize, G, rows, n);
    struct refine_args a;

    TRY(check(b, r, layout.total, G, rows, n, scratch));
    a = args_of(&layout, r, scratch.at, rows, n);
    for (int g = 0; g < G; g += layout.G) {
        size_t weights = (size_t)g * rows * n, grids = (size_t)g * a.n_groups * rows;
        size_t square = (size_t)g * n * n;

        a.G = min(layout.G, G - g);
        a.w = (const bf16 *)r->w.at + weights;
        a.perm = (const int *)r->perm.at + (size_t)g * n;
        a.g_idx = (const int *)r->q.g_idx.at + (size_t)g * n;
        a.codes_out = r->q.codes.at + weights;
        a.scales_out = (__half *)r->q.scales.at + grids;
        a.zeros = r->q.zeros.at + grids;
        a.units = grid_units(&r->q, r->groupsize, g, rows, n);
        a.dq = (bf16 *)r->dq.at + weights;
        a.before = (float *)r->before.at + (size_t)g * rows;
        a.after = (float *)r->after.at + (size_t)g * rows;
        a.high = (bf16 *)((float *)r->square.at + square);
        a.low = a.high + (size_t)a.G * n * n;
        TRY(refine_chunk(b, a, r, (const float *)r->h.at + square,
                         r->d.size ? (const float *)r->d.at + square : NULL, r->damp + g,
                         (float *)(scratch.at + layout.damp),
                         (float *)(scratch.at + layout.added)));
    }
    return 0;
}
