// SPDX-License-Identifier: Apache-2.0
/*
 * How the inputs of a quantized model drift away from the original's (arXiv 2504.02692).
 *
 * cross_add(): the product of hessian_add() with a difference on one side, which is made in pieces
 * of 8 MiB: in bf16, and so exact for neighbours of one sign.
 * drift_correction(): two f32 products with the triangle u, by blocks of 512 columns, batched over
 * the matrices; what is zero outside of a block is left out. What is not defined of u, below its
 * diagonal, is made zero first.
 * scratch, for the matrices that go through it at once (at most 512 MiB of them, or one): f32
 * [n, n] each.
 */
#include "kernels/cuda/device.cuh"

/* -------- d -------- */

/* diff [size] = x0 - x: exact for neighbours of one sign, else rounded to bf16 */
__global__ void drift_kernel(bf16 *diff, const bf16 *x0, const bf16 *x, size_t size) {
    for (size_t i = (size_t)blockIdx.x * 256 + threadIdx.x; i < size; i += (size_t)gridDim.x * 256)
        diff[i] = __float2bfloat16_rn(__bfloat162float(x0[i]) - __bfloat162float(x[i]));
}

/* d [n, n] += (x0 - x)' x of @rows rows, as many at a time as the lane's part of b->small holds. */
static int cross_add(struct cuda_backend *b, int lane, float *d, const bf16 *x0, const bf16 *x,
                     int rows, int n) {
    enum { PART = SMALL_SIZE / N_LANES };
    bf16 *diff = (bf16 *)(b->small + (size_t)lane * PART);
    int at_once = PART / 2 / n;

    for (int from = 0, count; from < rows; from += count) {
        size_t at = (size_t)from * n, size;

        count = min(at_once, rows - from);
        size = (size_t)count * n;
        drift_kernel<<<min(blocks_for((long)size, 256), 4096u), 256, 0, b->lanes[lane].stream>>>(
            diff, x0 + at, x + at, size);
        LAUNCH_TRY(b);
        TRY(product_gram(b, &b->lanes[lane], d, diff, x + at, count, n));
    }
    return 0;
}

int cuda_cross_add(struct backend *base, struct span d, struct span x0, struct span x,
                   const int32_t *offsets, int G, int n) {
    struct cuda_backend *b = cuda_of(base);
    long S = 0, load[N_LANES] = {};

    TRY(op_begin(b, "cross_add", "G n", G, n));
    TRY(op_offsets(b, offsets, G, &S));
    if (n < 1 || n > 65535)
        return status_invalid(b, "1 to 65535 columns");
    TRY(op_needs(b, {{"d", d, bytes_of(4, {G, n, n}), 4},
                     {"x0", x0, bytes_of(2, {S, n}), 2},
                     {"x", x, bytes_of(2, {S, n}), 2}}));
    TRY(lanes_fork(b));
    for (int g = 0; g < G; g++) {
        int rows = offsets[g + 1] - offsets[g];
        size_t at = (size_t)offsets[g] * n;

        if (rows)
            TRY(cross_add(b, lanes_pick(load, rows), (float *)d.at + (size_t)g * n * n,
                          (const bf16 *)x0.at + at, (const bf16 *)x.at + at, rows, n));
    }
    return lanes_join(b);
}

/* -------- p -------- */

enum { COLUMNS = 512 };

static const size_t CORRECTION_CHUNK = 512 << 20;

/* The matrices that go through drift_correction() at once. */
static int correction_chunk(int G, int n) {
    size_t one = bytes_of(4, {n, n});

    return one >= CORRECTION_CHUNK ? 1 : (int)min((size_t)G, CORRECTION_CHUNK / one);
}

size_t cuda_drift_scratch(struct backend *base, int G, int n) {
    (void)base;
    return G < 1 || n < 1 ? SIZE_MAX : bytes_of(4, {correction_chunk(G, n), n, n});
}

/* to [n, n] = the permuted d */
__global__ void permute_kernel(float *to, const float *d, const int *perm, int n) {
    int j = blockIdx.x * 256 + threadIdx.x, row, column;
    size_t g = blockIdx.z;

    if (j >= n)
        return;
    for (int i = blockIdx.y; i < n; i += gridDim.y) {
        row = perm[g * n + i];
        column = perm[g * n + j];
        if ((unsigned)row < (unsigned)n && (unsigned)column < (unsigned)n)
            to[(g * n + i) * n + j] = d[(g * n + row) * n + column];
    }
}

/* to = what of from lies above its diagonal, else 0 */
__global__ void above_kernel(float *to, const float *from, int n) {
    int j = blockIdx.x * 256 + threadIdx.x;
    size_t g = blockIdx.z;

    if (j >= n)
        return;
    for (int i = blockIdx.y; i < n; i += gridDim.y) {
        size_t at = (g * n + i) * n + j;

        to[at] = i < j ? from[at] : 0.0f;
    }
}

/* u [n, n] gets zeros below its diagonal */
__global__ void clear_below_kernel(float *u, int n) {
    int j = blockIdx.x * 256 + threadIdx.x;
    size_t g = blockIdx.z;

    for (int i = blockIdx.y; i < n; i += gridDim.y) {
        if (j < i)
            u[(g * n + i) * n + j] = 0.0f;
    }
}

/* The matrices at work, [G, n, n] each. */
struct correction {
    struct cuda_backend *b;
    float *p, *half, *u; /* half: scratch */
    int G, n;
};

/* Row-major c [m, q] = alpha * x [m, k] op(y) for every matrix; all rows are n apart. */
static int product(const struct correction *f, float *c, const float *x, const float *y,
                   bool turn_y, int m, int q, int k, float alpha) {
    long long stride = (long long)f->n * f->n;
    const float zero = 0.0f;

    BLAS_TRY(f->b, cublasSgemmStridedBatched(
                       f->b->lanes[0].blas, turn_y ? CUBLAS_OP_T : CUBLAS_OP_N, CUBLAS_OP_N, q, m,
                       k, &alpha, y, f->n, stride, x, f->n, stride, &zero, c, f->n, stride, f->G));
    return 0;
}

static int correct(const struct correction *f, const float *d, const int *perm, float alpha) {
    struct cuda_backend *b = f->b;
    size_t n = f->n;
    dim3 grid(blocks_for(f->n, 256), min(f->n, 1024), f->G);

    permute_kernel<<<grid, 256, 0, b->lanes[0].stream>>>(f->half, d, perm, f->n);
    LAUNCH_TRY(b);
    clear_below_kernel<<<grid, 256, 0, b->lanes[0].stream>>>(f->u, f->n);
    LAUNCH_TRY(b);
    for (int c = 0; c < f->n; c += COLUMNS) { /* p's columns = half u': of rows up to them */
        int width = min(COLUMNS, f->n - c);

        TRY(product(f, f->p + c, f->half + c, f->u + c * n + c, true, c + width, width, f->n - c,
                    alpha));
    }
    above_kernel<<<grid, 256, 0, b->lanes[0].stream>>>(f->half, f->p, f->n);
    LAUNCH_TRY(b);
    for (int c = 0; c < f->n; c += COLUMNS) { /* p's columns = half u */
        int width = min(COLUMNS, f->n - c);

        TRY(product(f, f->p + c, f->half, f->u + c, false, c + width, width, c + width, 1.0f));
    }
    return 0;
}

int cuda_drift_correction(struct backend *base, struct span p, struct span d, struct span u,
                          struct span perm, float alpha, int G, int n, struct span scratch) {
    struct cuda_backend *b = cuda_of(base);

    TRY(op_begin(b, "drift_correction", "G n", G, n));
    if (G < 1 || n < 1 || G > 65535 || n > 65535)
        return status_invalid(b, "1 to 65535 matrices of at most 65535 columns");
    TRY(op_needs(b, {{"p", p, bytes_of(4, {G, n, n}), 4},
                     {"d", d, bytes_of(4, {G, n, n}), 4},
                     {"u", u, bytes_of(4, {G, n, n}), 4},
                     {"perm", perm, bytes_of(4, {G, n}), 4},
                     {"scratch", scratch, cuda_drift_scratch(base, G, n), 16}}));
    for (int g = 0, count; g < G; g += count) {
        size_t at = (size_t)g * n * n;
        struct correction f;

        count = min(correction_chunk(G, n), G - g);
        f = {b, (float *)p.at + at, (float *)scratch.at, (float *)u.at + at, count, n};
        TRY(correct(&f, (const float *)d.at + at, (const int *)perm.at + (size_t)g * n, alpha));
    }
    return 0;
}
