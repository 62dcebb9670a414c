// SPDX-License-Identifier: Apache-2.0
/*
 * gptq(): the column loop for all rows of all matrices at once (arXiv 2210.17323, algorithm 1).
 *
 * Weights live transposed and permuted in scratch, f32 [G, n, rows], so that neighbouring threads
 * touch neighbouring words. One thread owns a row. A block is at most 128 columns and ends where a
 * group ends, the factor's block sits in shared memory; within a block a step of 32 columns is
 * held in registers, its errors then update the rest of the block at once. After a block one
 * batched f32 product updates the rest of its panel of 512 columns, after a panel another all
 * later columns: half of the traffic of updating them after each block. With p the columns as they
 * were before they were rounded take the same way as the errors. No step, block or panel
 * goes on past a group's start unless it holds the whole group, so a grid always comes from
 * weights that carry every update so far.
 *
 * Numerics: f32 throughout, no TF32; errors are divided by the diagonal by its reciprocal.
 * Memory a block: the step's columns are read and written at most four times.
 * scratch, for the matrices that go through it at once (at most 512 MiB of w, or one): w f32
 * [n, rows]; errors f32 [512, rows]; codes u8 [n, rows]; the inverse of perm i32 [n]; the
 * diagonal of h f32 [n]; with p the columns before they were rounded, f32 [512, rows].
 */
#include "kernels/cuda/gptq/gptq.cuh"

enum { PANEL = 512, BLOCK = 128, STEP = 32, THREADS = 128, SHARED = (BLOCK * BLOCK + BLOCK) * 4 };

static const size_t GPTQ_CHUNK = 512 << 20;

struct gptq_layout {
    int G;                                                  /* matrices at once */
    size_t errors, codes, inverse, diagonal, before, total; /* offsets in scratch, bytes */
};

static struct gptq_layout gptq_layout(int G, int rows, int n, bool with_p) {
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
    at.before = (at.diagonal + bytes_of(4, {G, n}) + 255) / 256 * 256;
    at.total = at.before + (with_p ? errors : 0);
    return at;
}

size_t cuda_gptq_scratch(struct backend *base, int G, int rows, int n, bool with_p) {
    (void)base;
    return gptq_layout(G, rows, n, with_p).total;
}

/* One row of one matrix, as its thread sees it. */
struct gptq_row {
    float *wt;              /* column c at wt[c * rows] */
    float *errors, *before; /* column c of the panel at errors[c * rows] */
    unsigned char *codes_t; /* column c at codes_t[c * rows] */
    __half *scales;         /* group i at scales[i * rows] */
    unsigned char *zeros;
    const int *perm;
    struct grid_units units;
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
    row.at = grid_at(row.scales, row.zeros, row.units, group, args.rows);
}

/*
 * Of a block in shared memory, u is above the diagonal; p, strictly above its own, fills what is
 * left, turned around: where p[k, j], j > k, is.
 */
__device__ __forceinline__ const float *block_p(const float *u, int k, int j) {
    return u + (BLOCK - 1 - k) * BLOCK + BLOCK - 1 - j;
}

/*
 * The rest of the block, from its column @from to @width, after W errors from column @s on, which
 * were @before.
 */
template <int W, bool DRIFT>
__device__ __forceinline__ void row_update(struct gptq_row &row, const float *u,
                                           const float errors[W], const float before[W],
                                           size_t rows, int c0, int s, int width) {
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
                    if (DRIFT)
                        v[0] += before[i] * *block_p(u, s + i, j);
                } else {
                    float4 f = *(const float4 *)(at + k);

                    v[k] -= errors[i] * f.x;
                    v[k + 1] -= errors[i] * f.y;
                    v[k + 2] -= errors[i] * f.z;
                    v[k + 3] -= errors[i] * f.w;
                    if (DRIFT) {
                        f = *(const float4 *)block_p(u, s + i, j + k + 3);
                        v[k] += before[i] * f.w;
                        v[k + 1] += before[i] * f.z;
                        v[k + 2] += before[i] * f.y;
                        v[k + 3] += before[i] * f.x;
                    }
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
template <int W, bool STATIC, bool DRIFT>
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
        errors[i] = (w[i] - grid_weight(code, row.at)) * reciprocal[s + i];
        row.codes_t[(size_t)(c0 + s + i) * rows] = (unsigned char)code;
        row.errors[(size_t)(s + i) * rows] = errors[i];
        if (DRIFT)
            row.before[(size_t)(s + i) * rows] = w[i];
#pragma unroll
        for (int j = i + 1; j < W; j++) {
            w[j] -= errors[i] * u[(s + i) * BLOCK + s + j];
            if (DRIFT)
                w[j] += w[i] * *block_p(u, s + i, s + j);
        }
    }
    row_update<W, DRIFT>(row, u, errors, w, rows, c0, s, width);
}

/* Columns c0 .. c0 + width - 1 of all rows of all matrices. */
template <bool STATIC, bool DRIFT>
__global__ void __launch_bounds__(THREADS)
    gptq_block_kernel(const struct gptq_args args, int panel, int c0, int width) {
    extern __shared__ float u[]; /* [BLOCK][BLOCK], with p; then the reciprocals of its diagonal */
    float *reciprocal = u + BLOCK * BLOCK;
    size_t g = blockIdx.y, at = blockIdx.x * THREADS + threadIdx.x, matrix = g * args.rows * args.n;
    const float *from = args.u + (g * args.n + c0) * args.n + c0;
    struct gptq_row row;

    for (int i = threadIdx.x; i < BLOCK * BLOCK; i += THREADS) {
        int k = i / BLOCK, j = i % BLOCK;

        u[i] = k <= j && j < width ? from[(size_t)k * args.n + j] : 0.0f;
        if (DRIFT && k > j && BLOCK - 1 - j < width)
            u[i] = args.p[(g * args.n + c0 + BLOCK - 1 - k) * args.n + c0 + BLOCK - 1 - j];
    }
    __syncthreads();
    if (threadIdx.x < width)
        reciprocal[threadIdx.x] = 1.0f / u[threadIdx.x * BLOCK + threadIdx.x];
    __syncthreads();
    if (at >= args.rows)
        return;
    row.wt = args.wt + matrix + at;
    row.errors = args.errors + (g * PANEL + c0 - panel) * args.rows + at;
    row.before = args.before + (g * PANEL + c0 - panel) * args.rows + at;
    row.codes_t = args.codes_t + matrix + at;
    row.scales = args.scales + g * args.n_groups * args.rows + at;
    row.zeros = args.zeros + g * args.n_groups * args.rows + at;
    row.perm = args.perm + g * args.n;
    row.units = units_from(args.units, g * (args.n / GRID_SUPER) * args.rows + at);
    row.at = {1.0f, 0.0f, 0.0f};
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
            row_step<STEP, STATIC, DRIFT>(row, args, u, reciprocal, c0, s, width);
            s += STEP;
        } else if (left >= 8) {
            row_step<8, STATIC, DRIFT>(row, args, u, reciprocal, c0, s, width);
            s += 8;
        } else {
            row_step<1, STATIC, DRIFT>(row, args, u, reciprocal, c0, s, width);
            s++;
        }
    }
}

/* The columns from @from to @to - 1 of a panel, and what they give to those up to @end - 1. */
struct gptq_part {
    int panel, from, to, end;
};

/* wt[to .. end - 1] += factor * u[from .. to - 1][to .. end - 1]' values [PANEL, rows] */
static int update_later(struct cuda_backend *b, const struct gptq_args &args,
                        const struct gptq_part &part, float factor, const float *u,
                        const float *values) {
    int rows = args.rows, n = args.n;
    const float one = 1.0f;

    BLAS_TRY(b, cublasSgemmStridedBatched(
                    b->lanes[0].blas, CUBLAS_OP_N, CUBLAS_OP_T, rows, part.end - part.to,
                    part.to - part.from, &factor, values + (size_t)(part.from - part.panel) * rows,
                    rows, (long long)PANEL * rows, u + (size_t)part.from * n + part.to, n,
                    (long long)n * n, &one, args.wt + (size_t)part.to * rows, rows,
                    (long long)n * rows, args.G));
    return 0;
}

static int spread_part(struct cuda_backend *b, const struct gptq_args &args,
                       const struct gptq_part &part) {
    if (part.to == part.end)
        return 0;
    TRY(update_later(b, args, part, -1.0f, args.u, args.errors));
    return args.p ? update_later(b, args, part, 1.0f, args.p, args.before) : 0;
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

static void (*block_kernel(const struct gptq_args &args))(const struct gptq_args, int, int, int) {
    if (args.p)
        return args.static_groups ? gptq_block_kernel<true, true> : gptq_block_kernel<false, true>;
    return args.static_groups ? gptq_block_kernel<true, false> : gptq_block_kernel<false, false>;
}

/* The columns from @panel to @end, block by block. */
static int run_panel(struct cuda_backend *b, const struct gptq_args &args, int panel, int end) {
    dim3 grid(blocks_for(args.rows, THREADS), args.G);
    auto kernel = block_kernel(args);

    CUDA_TRY(b, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, SHARED));
    for (int c0 = panel, width; c0 < end; c0 += width) {
        width = min(extent(args, c0, BLOCK), end - c0);
        kernel<<<grid, THREADS, SHARED, b->lanes[0].stream>>>(args, panel, c0, width);
        LAUNCH_TRY(b);
        TRY(spread_part(b, args, {panel, c0, c0 + width, end}));
    }
    return 0;
}

/* The diagonal of h, and the grids of static groups. */
static int prepare_grids(struct cuda_backend *b, const struct gptq_args &args,
                         const struct quantized *all, const struct grid *grid, int g) {
    struct quantized q = {};

    if (grid->fit == GRID_HESSIAN)
        TRY(gptq_diagonal(b, args));
    if (!args.static_groups)
        return 0;
    q.scales.at = (unsigned char *)args.scales;
    q.zeros.at = args.zeros;
    q.g_idx.at = (unsigned char *)args.g_idx;
    if (grid->sub_bits) {
        size_t units = (size_t)g * (args.n / GRID_SUPER) * args.rows * sizeof(__half);

        q.d = span_slice(all->d, units, all->d.size - units);
        q.dmin = grid->sym ? (struct span){} : span_slice(all->dmin, units, all->dmin.size - units);
    }
    return grid_round(b, &q, NULL, args.w, args.diagonal, grid, false, args.G, args.rows, args.n);
}

static int run_panels(struct cuda_backend *b, const struct gptq_args &args) {
    TRY(gptq_load(b, args));
    for (int panel = 0, end; panel < args.n; panel = end) {
        end = panel + extent(args, panel, PANEL);
        TRY(run_panel(b, args, panel, end));
        TRY(spread_part(b, args, {panel, panel, end, args.n}));
    }
    return gptq_store(b, args);
}

int cuda_gptq(struct backend *base, const struct quantized *q, struct span dq, struct span w,
              struct span u, struct span perm, struct span p, struct span h,
              const struct grid *grid, bool static_groups, int G, int rows, int n,
              struct span scratch) {
    struct cuda_backend *b = cuda_of(base);
    struct gptq_layout layout = gptq_layout(G, rows, n, p.size > 0);
    struct gptq_args args = {};

    TRY(op_begin(b, "gptq", "G rows n groupsize wbits", G, rows, n, grid->groupsize, grid->wbits));
    if (G < 1 || rows < 1 || n < 1 || G > 65535 || rows > GPTQ_ROWS)
        return status_invalid(b, "1 to 65535 matrices of at most %d rows", (int)GPTQ_ROWS);
    TRY(grid_check(b, grid, q, n));
    if (grid->sub_bits && !static_groups)
        return status_invalid(b, "a K grid is static");
    TRY(grid_needs(b, q, grid->groupsize, G, rows, n));
    TRY(op_needs(b, {{"dq", dq, bytes_of(2, {G, rows, n}), 2},
                     {"w", w, bytes_of(2, {G, rows, n}), 2},
                     {"u", u, bytes_of(4, {G, n, n}), 4},
                     {"perm", perm, bytes_of(4, {G, n}), 4},
                     {"scratch", scratch, layout.total, 16}}));
    if (p.size)
        TRY(op_needs(b, {{"p", p, bytes_of(4, {G, n, n}), 4}}));
    if (grid->fit == GRID_HESSIAN)
        TRY(op_needs(b, {{"h", h, bytes_of(4, {G, n, n}), 4}}));
    args.diagonal = (float *)(scratch.at + layout.diagonal);
    args.inverse = (int *)(scratch.at + layout.inverse);
    args.wt = (float *)scratch.at;
    args.errors = (float *)(scratch.at + layout.errors);
    args.before = (float *)(scratch.at + layout.before);
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
        args.p = p.size ? (const float *)p.at + (size_t)g * n * n : NULL;
        args.h = (const float *)h.at + (size_t)g * n * n;
        args.perm = (const int *)perm.at + (size_t)g * n;
        args.codes = q->codes.at + weights;
        args.scales = (__half *)q->scales.at + grids;
        args.zeros = q->zeros.at + grids;
        args.g_idx = (int *)q->g_idx.at + (size_t)g * n;
        args.dq = (bf16 *)dq.at + weights;
        if (grid->sub_bits)
            args.units = grid_units(q, grid->groupsize, g, rows, n);
        TRY(prepare_grids(b, args, q, grid, g));
        TRY(run_panels(b, args));
    }
    return 0;
}
