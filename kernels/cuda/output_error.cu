// SPDX-License-Identifier: Apache-2.0
/*
 * output_error(): of each row e of w - dq and of w, the quadratic form with h.
 *
 * Numerics: h is split into two bf16 of which the second holds what the first dropped, so p = e h
 * is two bf16 products that carry 16 bits of h, summed in f32: as fast as one in TF32 and 64 times
 * as exact. w is bf16; w - dq is rounded to it (exact but where dq lies far from w). The final dot
 * is f32.
 * scratch, for the matrices that go through it at once (at most 64 MiB of p, or one matrix): the
 * two halves of h, full squares; e bf16; p f32.
 */
#include "kernels/cuda/device.cuh"

enum { CHUNK_SIZE = 64 << 20 };

/* Matrices that go through scratch at once. */
static int chunk_of(int G, int rows, int n) {
    size_t one = bytes_of(4, {rows, n});
    size_t fit = one && one < CHUNK_SIZE ? CHUNK_SIZE / one : 1;

    return fit < (size_t)G ? (int)fit : G;
}

size_t cuda_output_error_scratch(struct backend *base, int G, int rows, int n) {
    int chunk = chunk_of(G, rows, n);
    size_t halves = bytes_of(4, {chunk, n, n}), products = bytes_of(6, {chunk, rows, n});

    (void)base;
    return halves > SIZE_MAX / 2 || products > SIZE_MAX / 2 ? SIZE_MAX : halves + products;
}

/* high + low = h, both triangles from the lower one; a block is a tile of 32 x 32 */
__global__ void split_kernel(bf16 *high, bf16 *low, const float *h, int n) {
    __shared__ float tile[32][33];
    size_t base = (size_t)blockIdx.z * n * n;
    int i0 = blockIdx.y * 32, j0 = blockIdx.x * 32;
    bool mirrored = j0 > i0;

    for (int k = threadIdx.y; k < 32; k += 8) {
        int row = (mirrored ? j0 : i0) + k, column = (mirrored ? i0 : j0) + threadIdx.x;

        if (row < n && column < n)
            tile[k][threadIdx.x] = h[base + (size_t)row * n + column];
    }
    __syncthreads();
    for (int k = threadIdx.y; k < 32; k += 8) {
        int row = i0 + k, column = j0 + threadIdx.x;
        bool swap = mirrored || (i0 == j0 && k < (int)threadIdx.x);
        float value = swap ? tile[threadIdx.x][k] : tile[k][threadIdx.x];
        bf16 head = __float2bfloat16_rn(value);

        if (row < n && column < n) {
            high[base + (size_t)row * n + column] = head;
            low[base + (size_t)row * n + column] =
                __float2bfloat16_rn(value - __bfloat162float(head));
        }
    }
}

__global__ void difference_kernel(bf16 *e, const bf16 *w, const bf16 *dq, size_t size) {
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < size;
         i += (size_t)gridDim.x * blockDim.x)
        e[i] = __float2bfloat16_rn(__bfloat162float(w[i]) - __bfloat162float(dq[i]));
}

/* out[row] = e[row] . p[row], one warp a row */
__global__ void dot_kernel(float *out, const bf16 *e, const float *p, size_t rows, int n) {
    size_t row = (size_t)blockIdx.x * 8 + threadIdx.x / 32;
    float sum = 0.0f;

    if (row >= rows)
        return;
#pragma unroll 4
    for (int i = threadIdx.x % 32; i < n; i += 32)
        sum += __bfloat162float(e[row * n + i]) * p[row * n + i];
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0)
        out[row] = fmaxf(sum, 0.0f);
}

/* Some matrices, and their part of scratch. */
struct chunk {
    int G, rows, n;
    bf16 *high, *low; /* [G, n, n] */
    bf16 *e;          /* [G, rows, n] */
    float *p;         /* [G, rows, n] */
};

static int add_product(struct cuda_backend *b, const struct chunk *c, const bf16 *e, const bf16 *h,
                       float beta) {
    const float one = 1.0f;

    BLAS_TRY(b, cublasGemmStridedBatchedEx(
                    b->lanes[0].blas, CUBLAS_OP_N, CUBLAS_OP_N, c->n, c->rows, c->n, &one, h,
                    CUDA_R_16BF, c->n, (long long)c->n * c->n, e, CUDA_R_16BF, c->n,
                    (long long)c->rows * c->n, &beta, c->p, CUDA_R_32F, c->n,
                    (long long)c->rows * c->n, c->G, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT));
    return 0;
}

static int quadratic_form(struct cuda_backend *b, const struct chunk *c, float *out,
                          const bf16 *e) {
    size_t rows = (size_t)c->G * c->rows;

    TRY(add_product(b, c, e, c->high, 0.0f));
    TRY(add_product(b, c, e, c->low, 1.0f));
    dot_kernel<<<blocks_for((long)rows, 8), 256, 0, b->lanes[0].stream>>>(out, e, c->p, rows, c->n);
    LAUNCH_TRY(b);
    return 0;
}

static int chunk_error(struct cuda_backend *b, const struct chunk *c, float *num, float *den,
                       const bf16 *w, const bf16 *dq, const float *h) {
    int tiles = (int)blocks_for(c->n, 32);
    cudaStream_t stream = b->lanes[0].stream;

    split_kernel<<<dim3(tiles, tiles, c->G), dim3(32, 8), 0, stream>>>(c->high, c->low, h, c->n);
    LAUNCH_TRY(b);
    difference_kernel<<<2048, 256, 0, stream>>>(c->e, w, dq, (size_t)c->G * c->rows * c->n);
    LAUNCH_TRY(b);
    TRY(quadratic_form(b, c, num, c->e));
    return quadratic_form(b, c, den, w);
}

int cuda_output_error(struct backend *base, struct span num, struct span den, struct span w,
                      struct span dq, struct span h, int G, int rows, int n, struct span scratch) {
    struct cuda_backend *b = cuda_of(base);
    int step = chunk_of(G, rows, n);

    TRY(op_begin(b, "output_error", "G rows n", G, rows, n));
    if (G < 1 || rows < 1 || n < 1 || G > 65535)
        return status_invalid(b, "1 to 65535 matrices");
    TRY(op_needs(b, {{"num", num, bytes_of(4, {G, rows}), 4},
                     {"den", den, bytes_of(4, {G, rows}), 4},
                     {"w", w, bytes_of(2, {G, rows, n}), 2},
                     {"dq", dq, bytes_of(2, {G, rows, n}), 2},
                     {"h", h, bytes_of(4, {G, n, n}), 4},
                     {"scratch", scratch, cuda_output_error_scratch(base, G, rows, n), 16}}));
    for (int g = 0; g < G; g += step) {
        size_t at = (size_t)g * rows * n;
        struct chunk c = {};

        c.G = G - g < step ? G - g : step;
        c.rows = rows;
        c.n = n;
        c.p = (float *)scratch.at;
        c.high = (bf16 *)(c.p + (size_t)c.G * rows * n);
        c.low = c.high + (size_t)c.G * n * n;
        c.e = c.low + (size_t)c.G * n * n;
        TRY(chunk_error(b, &c, (float *)num.at + (size_t)g * rows,
                        (float *)den.at + (size_t)g * rows, (const bf16 *)w.at + at,
                        (const bf16 *)dq.at + at, (const float *)h.at + (size_t)g * n * n));
    }
    return 0;
}
