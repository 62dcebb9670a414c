// SPDX-License-Identifier: Apache-2.0
/*
 * Element and row work of the forward pass: rmsnorm(), rope(), clamp(), swiglu().
 *
 * Numerics: bf16 in, all arithmetic in f32, one rounding to bf16. Sums run in an order that only
 * the shape decides. Memory: each input is read from the device once (rmsnorm's second look at
 * its row hits the cache), each output written once.
 */
#include "kernels/cuda/device.cuh"

/* One warp a row. y may be x: a lane writes only what it has just read. */
__global__ void rmsnorm_kernel(bf16 *y, int ldy, const bf16 *x, int ldx, const bf16 *w, int T,
                               int n, float eps, bool aligned) {
    int t = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    float v[8], weight[8], sum = 0.0f, factor;

    if (t >= T)
        return;
    x += (size_t)t * ldx;
    y += (size_t)t * ldy;
#pragma unroll 4
    for (int i = lane * 8; i < n; i += 256) {
        load8(v, x + i, n - i, aligned);
#pragma unroll
        for (int k = 0; k < 8; k++)
            sum += v[k] * v[k];
    }
    factor = 1.0f / sqrtf(warp_sum(sum) / n + eps);
#pragma unroll 4
    for (int i = lane * 8; i < n; i += 256) {
        load8(v, x + i, n - i, aligned);
        load8(weight, w + i, n - i, aligned);
#pragma unroll
        for (int k = 0; k < 8; k++)
            v[k] *= factor * weight[k];
        store8(y + i, v, n - i, aligned);
    }
}

int cuda_rmsnorm(struct backend *base, struct span y, int ldy, struct span x, int ldx,
                 struct span w, int T, int n, float eps) {
    struct cuda_backend *b = cuda_of(base);

    TRY(op_begin(b, "rmsnorm", "T n ldx ldy", T, n, ldx, ldy));
    if (T < 1 || n < 1 || ldx < n || ldy < n)
        return status_invalid(b, "rows overlap or there are none");
    TRY(op_needs(b, {{"y", y, bytes_of(2, {(long)(T - 1) * ldy + n}), 2},
                     {"x", x, bytes_of(2, {(long)(T - 1) * ldx + n}), 2},
                     {"w", w, bytes_of(2, {n}), 2}}));
    rmsnorm_kernel<<<blocks_for(T, 8), 256, 0, b->lanes[0].stream>>>(
        (bf16 *)y.at, ldy, (const bf16 *)x.at, ldx, (const bf16 *)w.at, T, n, eps,
        ldx % 8 == 0 && ldy % 8 == 0 && aligned16(x.at) && aligned16(y.at) && aligned16(w.at));
    LAUNCH_TRY(b);
    return 0;
}

enum { ROPE_MAX_HALF = 512 };

/* One block a token: its angles once, in shared memory, then every head. */
__global__ void rope_kernel(bf16 *x, int ldx, int seqlen, int n_heads, int half, double theta,
                            bool aligned) {
    __shared__ float cosine[ROPE_MAX_HALF], sine[ROPE_MAX_HALF];
    int position = blockIdx.x % seqlen, chunks = (half + 7) / 8;

    for (int i = threadIdx.x; i < half; i += blockDim.x) {
        float frequency = (float)pow(theta, -(double)i / half);

        sincosf(position * frequency, &sine[i], &cosine[i]);
    }
    __syncthreads();
    x += (size_t)blockIdx.x * ldx;
    for (int task = threadIdx.x; task < n_heads * chunks; task += blockDim.x) {
        int i = task % chunks * 8, count = half - i;
        bf16 *at = x + (size_t)(task / chunks) * 2 * half + i;
        float lo[8], hi[8];

        load8(lo, at, count, aligned);
        load8(hi, at + half, count, aligned);
#pragma unroll
        for (int k = 0; k < 8; k++) {
            float c = i + k < half ? cosine[i + k] : 0.0f, s = i + k < half ? sine[i + k] : 0.0f;
            float a = lo[k] * c - hi[k] * s;

            hi[k] = hi[k] * c + lo[k] * s;
            lo[k] = a;
        }
        store8(at, lo, count, aligned);
        store8(at + half, hi, count, aligned);
    }
}

int cuda_rope(struct backend *base, struct span x, int ldx, int T, int seqlen, int n_heads,
              int head_dim, float theta) {
    struct cuda_backend *b = cuda_of(base);
    int half = head_dim / 2;

    TRY(op_begin(b, "rope", "T seqlen n_heads head_dim ldx", T, seqlen, n_heads, head_dim, ldx));
    if (T < 1 || seqlen < 1 || n_heads < 1 || head_dim < 2 || head_dim % 2 ||
        half > ROPE_MAX_HALF || (long)n_heads * head_dim > ldx)
        return status_invalid(b,
                              "head_dim has to be even and at most %d, rows at least as wide "
                              "as the heads",
                              2 * ROPE_MAX_HALF);
    TRY(op_needs(b, {{"x", x, bytes_of(2, {(long)(T - 1) * ldx + n_heads * head_dim}), 2}}));
    rope_kernel<<<T, 128, 0, b->lanes[0].stream>>>((bf16 *)x.at, ldx, seqlen, n_heads, half, theta,
                                                   half % 8 == 0 && ldx % 8 == 0 &&
                                                       aligned16(x.at));
    LAUNCH_TRY(b);
    return 0;
}

__global__ void clamp_kernel(bf16 *x, size_t n, float limit, bool aligned) {
    size_t i = ((size_t)blockIdx.x * blockDim.x + threadIdx.x) * 8;
    float v[8];
    int count = n - i < 8 ? (int)(n - i) : 8;

    if (i >= n)
        return;
    load8(v, x + i, count, aligned);
#pragma unroll
    for (int k = 0; k < 8; k++)
        v[k] = fminf(fmaxf(v[k], -limit), limit);
    store8(x + i, v, count, aligned);
}

int cuda_clamp(struct backend *base, struct span x, size_t n, float limit) {
    struct cuda_backend *b = cuda_of(base);

    TRY(op_begin(b, "clamp", "n", n));
    TRY(op_needs(b, {{"x", x, bytes_of(2, {(long)n}), 2}}));
    if (!n)
        return 0;
    clamp_kernel<<<blocks_for(n, 2048), 256, 0, b->lanes[0].stream>>>((bf16 *)x.at, n, limit,
                                                                      aligned16(x.at));
    LAUNCH_TRY(b);
    return 0;
}

__global__ void swiglu_kernel(bf16 *__restrict__ y, const bf16 *__restrict__ gu, long S, int n,
                              int chunks, bool aligned) {
    long task = (long)blockIdx.x * blockDim.x + threadIdx.x, s = task / chunks;
    int i = (int)(task % chunks) * 8;
    float g[8], u[8];

    if (s >= S)
        return;
    load8(g, gu + s * 2 * n + i, n - i, aligned);
    load8(u, gu + s * 2 * n + n + i, n - i, aligned);
#pragma unroll
    for (int k = 0; k < 8; k++)
        g[k] = g[k] / (1.0f + __expf(-g[k])) * u[k];
    store8(y + s * n + i, g, n - i, aligned);
}

int cuda_swiglu(struct backend *base, struct span y, struct span gu, int S, int n) {
    struct cuda_backend *b = cuda_of(base);
    int chunks = (n + 7) / 8;

    TRY(op_begin(b, "swiglu", "S n", S, n));
    TRY(op_needs(b, {{"y", y, bytes_of(2, {S, n}), 2}, {"gu", gu, bytes_of(2, {S, 2, n}), 2}}));
    if (!S || !n)
        return 0;
    swiglu_kernel<<<blocks_for((long)S * chunks, 256), 256, 0, b->lanes[0].stream>>>(
        (bf16 *)y.at, (const bf16 *)gu.at, S, n, chunks,
        n % 8 == 0 && aligned16(y.at) && aligned16(gu.at));
    LAUNCH_TRY(b);
    return 0;
}
