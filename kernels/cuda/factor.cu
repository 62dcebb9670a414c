// SPDX-License-Identifier: Apache-2.0
/*
 * The upper factor of the inverse of a damped, permuted Hessian, for G matrices at once.
 *
 * With J the reversal of rows, A = J h J = L L' (Cholesky) and u = J inv(L) J: reversing both
 * indices turns the lower triangle inv(L) into an upper one with u'u = inv(h), and in memory is
 * reversing the array.
 *
 * Blocks of 128 columns, left-looking, everything but the diagonal blocks by batched products:
 *   panel:    A[k.., k] -= L[k.., ..k] L[k, ..k]'          (into A's lower triangle)
 *   diagonal: A[k, k] = L_kk L_kk', X_kk = inv(L_kk)       (diagonal.cu; X_kk into u)
 *   row:      R[k, k+1..] = X_kk A[k+1.., k]'              (L', into A's upper triangle)
 *   inverse:  X[k, ..k] = -X_kk (L[k, ..k] X[..k, ..k])    (on a lane of its own)
 * cuSOLVER's batched Cholesky with cuBLAS's batched triangular solve took three times as long for
 * 64 matrices of 2048 columns, five times for one (docs/PERFORMANCE.md).
 *
 * Numerics: f32, no TF32. info is set when a pivot is not finite and positive.
 * scratch, for the matrices that go through it at once (at most 512 MiB of them, or one): A f32
 * [n, n]; the damping, what is added, the info and the condition of each matrix.
 */
#include "kernels/cuda/factor.cuh"

#include <string.h>

enum { INVERSE_COLUMNS = 512 }; /* of a product with a triangle: what lies left of it is saved */

static const size_t FACTOR_CHUNK = 512 << 20;

struct factor_layout {
    int G;                                        /* matrices at once */
    size_t damp, added, infos, conditions, total; /* offsets in scratch, bytes */
};

static struct factor_layout factor_layout(int G, int n) {
    struct factor_layout at = {};
    size_t one = bytes_of(4, {n, n}), matrix;

    if (one > SIZE_MAX / 2 || G < 1 || n < 1) {
        at.total = SIZE_MAX;
        return at;
    }
    at.G = one >= FACTOR_CHUNK ? 1 : (int)min((size_t)G, FACTOR_CHUNK / one);
    matrix = one * at.G;
    G = at.G;
    at.damp = (matrix + 255) / 256 * 256;
    at.added = at.damp + bytes_of(4, {G});
    at.infos = at.added + bytes_of(4, {G});
    at.conditions = at.infos + bytes_of(4, {G});
    at.total = at.conditions + bytes_of(4, {G});
    return at;
}

size_t cuda_factor_scratch(struct backend *base, int G, int n) {
    (void)base;
    return factor_layout(G, n).total;
}

/* -------- the damped, permuted, reversed matrix -------- */

/* One block a matrix: what is added to its diagonal. */
__global__ void damping_kernel(float *added, const float *damp, const float *h, int n) {
    __shared__ float sums[8];
    size_t g = blockIdx.x;
    float sum = 0.0f;

    h += g * n * n;
    for (int i = threadIdx.x; i < n; i += 256) {
        float d = h[(size_t)i * n + i];

        sum += d == 0.0f ? 1.0f : d;
    }
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0)
        sums[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x)
        return;
    for (int i = 1; i < 8; i++)
        sum += sums[i];
    added[g] = damp[g] * (sum / n);
}

void damping_launch(cudaStream_t stream, float *added, const float *damp, const float *h, int G,
                    int n) {
    damping_kernel<<<G, 256, 0, stream>>>(added, damp, h, n);
}

/* full = h with both triangles, from the lower one; a block is a tile of 32 x 32 of it */
__global__ void mirror_kernel(float *full, const float *h, int n) {
    __shared__ float tile[32][33];
    size_t base = (size_t)blockIdx.z * n * n;
    int i0 = blockIdx.y * 32, j0 = blockIdx.x * 32;

    if (j0 > i0)
        return;
    for (int k = threadIdx.y; k < 32; k += 8)
        if (i0 + k < n && j0 + threadIdx.x < n)
            tile[k][threadIdx.x] = h[base + (size_t)(i0 + k) * n + j0 + threadIdx.x];
    __syncthreads();
    for (int k = threadIdx.y; k < 32; k += 8) {
        int row = i0 + k, column = j0 + threadIdx.x, up = j0 + k, right = i0 + threadIdx.x;

        if (row < n && column <= row)
            full[base + (size_t)row * n + column] = tile[k][threadIdx.x];
        if (right < n && up < right)
            full[base + (size_t)up * n + right] = tile[threadIdx.x][k];
    }
}

/* The lower triangle of a: a[i][j] = full[p[n-1-i]][p[n-1-j]], damped. */
__global__ void gather_kernel(float *a, const float *full, const int *perm, const float *added,
                              int n) {
    int j = blockIdx.x * 256 + threadIdx.x, i = blockIdx.y;
    size_t g = blockIdx.z, base = g * n * n;
    int row, column;
    float value;

    if (j > i)
        return;
    row = perm[g * n + n - 1 - i];
    column = perm[g * n + n - 1 - j];
    if ((unsigned)row >= (unsigned)n || (unsigned)column >= (unsigned)n)
        row = column = 0;
    value = full[base + (size_t)row * n + column];
    if (i == j)
        value = (value == 0.0f ? 1.0f : value) + added[g];
    a[base + (size_t)i * n + j] = value;
}

/* Reverses each array of @size in place. */
__global__ void reverse_kernel(float *u, size_t size) {
    size_t i = (size_t)blockIdx.x * 256 + threadIdx.x;
    float *at = u + blockIdx.y * size, value;

    if (i >= size / 2)
        return;
    value = at[i];
    at[i] = at[size - 1 - i];
    at[size - 1 - i] = value;
}

/* One block a matrix: the square of the largest over the least of the diagonal of u [G, n, n]. */
__global__ void condition_kernel(float *condition, const float *u, int n) {
    __shared__ float least[256], most[256];
    int t = threadIdx.x;

    u += (size_t)blockIdx.x * n * n;
    least[t] = INFINITY;
    most[t] = 0.0f;
    for (int i = t; i < n; i += 256) {
        float d = u[(size_t)i * n + i];

        least[t] = fminf(least[t], d);
        most[t] = fmaxf(most[t], d);
    }
    for (int half = 128; half; half /= 2) {
        __syncthreads();
        if (t < half) {
            least[t] = fminf(least[t], least[t + half]);
            most[t] = fmaxf(most[t], most[t + half]);
        }
    }
    if (t == 0)
        condition[blockIdx.x] = most[0] / least[0] * (most[0] / least[0]);
}

/* -------- block by block -------- */

/* The matrices at work; a and u [G, n, n]. */
struct factoring {
    struct cuda_backend *b;
    float *a, *u;
    int *info;
    float *condition;
    int G, n;
};

/*
 * Row-major c [m, q] = alpha * op(x) y + beta * c for every matrix, with y [k, q], or [q, k] when
 * @turn_y; x [m, k], or [k, m] when @turn_x. All rows are n apart.
 */
static int product(const struct factoring *f, struct lane *lane, float *c, const float *x,
                   bool turn_x, const float *y, bool turn_y, int m, int q, int k, float alpha,
                   float beta) {
    long long stride = (long long)f->n * f->n;

    if (!m || !q || !k)
        return 0;
    BLAS_TRY(f->b,
             cublasSgemmStridedBatched(lane->blas, turn_y ? CUBLAS_OP_T : CUBLAS_OP_N,
                                       turn_x ? CUBLAS_OP_T : CUBLAS_OP_N, q, m, k, &alpha, y, f->n,
                                       stride, x, f->n, stride, &beta, c, f->n, stride, f->G));
    return 0;
}

/* The columns k0 .. k0 + nb - 1 of the factor, and the inverse of their diagonal block. */
static int factor_columns(const struct factoring *f, int k0, int nb) {
    struct lane *lane = &f->b->lanes[0];
    size_t n = f->n, at = k0 * n + k0;
    int below = f->n - k0 - nb;

    TRY(product(f, lane, f->a + at, f->a + k0, true, f->a + k0, false, f->n - k0, nb, k0, -1.0f,
                1.0f));
    diagonal_launch(lane->stream, f->a, f->u, f->info, f->G, f->n, k0, nb);
    LAUNCH_TRY(f->b);
    return product(f, lane, f->a + at + nb, f->u + at, false, f->a + at + nb * n, true, nb, below,
                   nb, 1.0f, 0.0f);
}

/* Rows k0 .. k0 + nb - 1 of the inverse; A's rows there are free by now and hold the product. */
static int invert_rows(const struct factoring *f, struct lane *lane, int k0, int nb) {
    size_t n = f->n;
    float *rows = f->a + k0 * n;

    for (int c = 0; c < k0; c += INVERSE_COLUMNS) {
        int columns = k0 - c < INVERSE_COLUMNS ? k0 - c : INVERSE_COLUMNS;

        TRY(product(f, lane, rows + c, f->a + c * n + k0, true, f->u + c * n + c, false, nb,
                    columns, k0 - c, 1.0f, 0.0f));
    }
    return product(f, lane, f->u + k0 * n, f->u + k0 * n + k0, false, rows, false, nb, k0, nb,
                   -1.0f, 0.0f);
}

static int factor_blocks(const struct factoring *f) {
    struct cuda_backend *b = f->b;

    for (int k0 = 0; k0 < f->n; k0 += DIAGONAL) {
        int nb = f->n - k0 < DIAGONAL ? f->n - k0 : DIAGONAL;

        TRY(factor_columns(f, k0, nb));
        TRY(lanes_fork(b)); /* lane 1 sees these columns and goes on beside the next ones */
        TRY(invert_rows(f, &b->lanes[1], k0, nb));
    }
    return lanes_join(b);
}

static int factor_all(const struct factoring *f, const float *h, const int *perm, float *damp,
                      float *added, const float *damp_host, int *info_host, float *condition_host) {
    struct cuda_backend *b = f->b;
    cudaStream_t stream = b->lanes[0].stream;
    unsigned tiles = blocks_for(f->n, 32);
    size_t size = (size_t)f->n * f->n;

    CUDA_TRY(b, cudaMemcpyAsync(damp, damp_host, 4 * (size_t)f->G, cudaMemcpyHostToDevice, stream));
    damping_launch(stream, added, damp, h, f->G, f->n);
    LAUNCH_TRY(b);
    CUDA_TRY(b, cudaMemsetAsync(f->info, 0, 4 * (size_t)f->G, stream));
    mirror_kernel<<<dim3(tiles, tiles, f->G), dim3(32, 8), 0, stream>>>(f->u, h, f->n);
    LAUNCH_TRY(b);
    gather_kernel<<<dim3(blocks_for(f->n, 256), f->n, f->G), 256, 0, stream>>>(f->a, f->u, perm,
                                                                               added, f->n);
    LAUNCH_TRY(b);
    CUDA_TRY(b, cudaMemsetAsync(f->u, 0, size * 4 * f->G, stream));
    TRY(factor_blocks(f));
    reverse_kernel<<<dim3(blocks_for((long)(size / 2), 256) + 1, f->G), 256, 0, stream>>>(f->u,
                                                                                          size);
    LAUNCH_TRY(b);
    CUDA_TRY(b,
             cudaMemcpyAsync(info_host, f->info, 4 * (size_t)f->G, cudaMemcpyDeviceToHost, stream));
    condition_kernel<<<f->G, 256, 0, stream>>>(f->condition, f->u, f->n);
    LAUNCH_TRY(b);
    CUDA_TRY(b, cudaMemcpyAsync(condition_host, f->condition, 4 * (size_t)f->G,
                                cudaMemcpyDeviceToHost, stream));
    return 0;
}

int cuda_factor(struct backend *base, struct span u, struct span h, struct span perm,
                const float *damp, int32_t *info, float *condition, int G, int n,
                struct span scratch) {
    struct cuda_backend *b = cuda_of(base);
    struct factor_layout layout = factor_layout(G, n);
    int *infos = (int *)b->pinned; /* G of them, then as many conditions */
    float *conditions = (float *)b->pinned + G;

    TRY(op_begin(b, "factor", "G n", G, n));
    if (G < 1 || n < 1 || G > 65535 || n > 65535)
        return status_invalid(b, "1 to 65535 matrices of at most 65535 columns");
    TRY(op_needs(b, {{"u", u, bytes_of(4, {G, n, n}), 4},
                     {"h", h, bytes_of(4, {G, n, n}), 4},
                     {"perm", perm, bytes_of(4, {G, n}), 4},
                     {"scratch", scratch, layout.total, 16}}));
    for (int g = 0; g < G; g += layout.G) {
        size_t at = (size_t)g * n * n;
        struct factoring f = {b,
                              (float *)scratch.at,
                              (float *)u.at + at,
                              (int *)(scratch.at + layout.infos),
                              (float *)(scratch.at + layout.conditions),
                              min(layout.G, G - g),
                              n};

        TRY(factor_all(&f, (const float *)h.at + at, (const int *)perm.at + (size_t)g * n,
                       (float *)(scratch.at + layout.damp), (float *)(scratch.at + layout.added),
                       damp + g, infos + g, conditions + g));
    }
    CUDA_TRY(b, cudaStreamSynchronize(b->lanes[0].stream));
    memcpy(info, infos, 4 * (size_t)G);
    memcpy(condition, conditions, 4 * (size_t)G);
    return 0;
}
