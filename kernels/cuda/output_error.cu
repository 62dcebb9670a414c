// SPDX-License-Identifier: Apache-2.0
/*
 * output_error(): of each row e of w - dq and of w, the quadratic form with h.
 *
 * As h is symmetric, e h e' is e t e' with t lower triangular: h's diagonal, and twice what is
 * below it. t is split into two bf16 of which the second holds what the first dropped, so p = e t'
 * is two bf16 products that carry 16 bits of h, summed in f32: as fast as one in TF32 and 64 times
 * as exact. w is bf16; w - dq is rounded to it (exact but where dq lies far from w). The final dot
 * is f32.
 * On Hopper one kernel takes the products and their dots (hopper/quadratic.cu); elsewhere cuBLAS
 * makes p.
 * scratch, for the matrices that go through it at once (at most 64 MiB of p, or one matrix): p f32,
 * or the parts of sums of which there are fewer; the two halves of t, full squares; e bf16.
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

/* V values that are read or written at once */
template <typename T, int V> struct alignas(V * sizeof(T) < 16 ? V * sizeof(T) : 16) values {
    T v[V];
};

/*
 * high + low = t of h's lower triangle, [G * n, n]. Row i is written up to the next multiple of
 * @width: 0 above the diagonal. V divides n.
 */
template <int V>
__global__ void triangle_kernel(bf16 *high, bf16 *low, const float *h, int n, int width) {
    int row = blockIdx.x % n, end = (row / width + 1) * width;
    size_t base = (size_t)blockIdx.x * n;

    for (int k = threadIdx.x * V; k < n && k < end; k += blockDim.x * V) {
        values<float, V> in = {};
        values<bf16, V> head, tail;

        if (k <= row)
            in = *reinterpret_cast<const values<float, V> *>(h + base + k);
        for (int i = 0; i < V; i++) {
            float value = k + i < row ? 2.0f * in.v[i] : k + i == row ? in.v[i] : 0.0f;

            head.v[i] = __float2bfloat16_rn(value);
            tail.v[i] = __float2bfloat16_rn(value - __bfloat162float(head.v[i]));
        }
        *reinterpret_cast<values<bf16, V> *>(high + base + k) = head;
        *reinterpret_cast<values<bf16, V> *>(low + base + k) = tail;
    }
}

/* V divides size */
template <int V>
__global__ void difference_kernel(bf16 *e, const bf16 *w, const bf16 *dq, size_t size) {
    using several = values<bf16, V>;

    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < size / V;
         i += (size_t)gridDim.x * blockDim.x) {
        several a = reinterpret_cast<const several *>(w)[i];
        several b = reinterpret_cast<const several *>(dq)[i];

        for (int k = 0; k < V; k++)
            a.v[k] = __float2bfloat16_rn(__bfloat162float(a.v[k]) - __bfloat162float(b.v[k]));
        reinterpret_cast<several *>(e)[i] = a;
    }
}

/* num[row] and den[row] = the sums of their parts [n_parts, 2, rows] */
__global__ void join_kernel(float *num, float *den, const float *part, int n_parts, size_t rows) {
    size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    float sum = 0.0f;

    if (i >= 2 * rows)
        return;
    for (int k = 0; k < n_parts; k++)
        sum += part[(size_t)k * 2 * rows + i];
    *(i < rows ? num + i : den + (i - rows)) = fmaxf(sum, 0.0f);
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
    float *p;         /* [G, rows, n]; or parts */
    bf16 *high, *low; /* [G, n, n] */
    bf16 *e;          /* [G, rows, n] */
};

static int add_product(struct cuda_backend *b, const struct chunk *c, const bf16 *e, const bf16 *t,
                       float beta) {
    const float one = 1.0f;

    BLAS_TRY(b, cublasGemmStridedBatchedEx(
                    b->lanes[0].blas, CUBLAS_OP_T, CUBLAS_OP_N, c->n, c->rows, c->n, &one, t,
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

template <int V>
static int prepare(struct cuda_backend *b, const struct chunk *c, const bf16 *w, const bf16 *dq,
                   const float *h, int width) {
    cudaStream_t stream = b->lanes[0].stream;
    unsigned lines = (unsigned)(c->G * c->n), threads = c->n > 64 * V ? 256 : 64;

    triangle_kernel<V><<<lines, threads, 0, stream>>>(c->high, c->low, h, c->n, width);
    LAUNCH_TRY(b);
    difference_kernel<V><<<2048, 256, 0, stream>>>(c->e, w, dq, (size_t)c->G * c->rows * c->n);
    LAUNCH_TRY(b);
    return 0;
}

static int chunk_error(struct cuda_backend *b, const struct chunk *c, float *num, float *den,
                       const bf16 *w, const bf16 *dq, const float *h) {
    size_t rows = (size_t)c->G * c->rows;
    bool wide = c->n % 8 == 0 && ((uintptr_t)w | (uintptr_t)dq | (uintptr_t)h) % 16 == 0;

    if (!wide || !quadratic_hopper_takes(b, c->G, c->rows, c->n)) {
        TRY(wide ? prepare<8>(b, c, w, dq, h, c->n) : prepare<1>(b, c, w, dq, h, c->n));
        TRY(quadratic_form(b, c, num, c->e));
        return quadratic_form(b, c, den, w);
    }
    TRY(prepare<8>(b, c, w, dq, h, QUADRATIC_WIDTH));
    TRY(quadratic_hopper(b, c->p, c->e, w, c->high, c->low, c->G, c->rows, c->n));
    join_kernel<<<blocks_for(2 * (long)rows, 256), 256, 0, b->lanes[0].stream>>>(
        num, den, c->p, quadratic_hopper_parts(c->n), rows);
    LAUNCH_TRY(b);
    return 0;
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
