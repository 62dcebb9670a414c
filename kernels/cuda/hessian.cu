// SPDX-License-Identifier: Apache-2.0
/*
 * Hessians: accumulating them and ordering columns by their diagonals.
 *
 * hessian_add(): one bf16 product with f32 accumulation and f32 result for each group, spread
 * over the lanes. The products of two bf16 are exact in f32. The full square is computed.
 * cross_add(): the same with a difference on one side, which is made in pieces of 8 MiB.
 * hessian_order(): the rank of a column is how many columns come before it, counted directly:
 * n^2 comparisons are less work than sorting well.
 */
#include "kernels/cuda/device.cuh"

int cuda_hessian_add(struct backend *base, struct span h, struct span x, const int32_t *offsets,
                     int G, int n) {
    struct cuda_backend *b = cuda_of(base);
    long S = 0, load[N_LANES] = {};

    TRY(op_begin(b, "hessian_add", "G n", G, n));
    TRY(op_offsets(b, offsets, G, &S));
    TRY(op_needs(b, {{"h", h, bytes_of(4, {G, n, n}), 4}, {"x", x, bytes_of(2, {S, n}), 2}}));
    TRY(lanes_fork(b));
    for (int g = 0; g < G; g++) {
        int rows = offsets[g + 1] - offsets[g];
        const bf16 *at = (const bf16 *)x.at + (size_t)offsets[g] * n;

        if (!rows || !n)
            continue;
        TRY(product_gram(b, &b->lanes[lanes_pick(load, rows)], (float *)h.at + (size_t)g * n * n,
                         at, at, rows, n));
    }
    return lanes_join(b);
}

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

/* An integer that sorts like the value, not-a-numbers included. */
__device__ unsigned sort_key(float f) {
    unsigned bits = __float_as_uint(f);

    return bits & 0x80000000 ? ~bits : bits | 0x80000000;
}

__global__ void order_kernel(int *perm, const float *h, int n) {
    __shared__ unsigned keys[256];
    int i = blockIdx.x * 256 + threadIdx.x, rank = 0;
    unsigned own;

    h += (size_t)blockIdx.y * n * n;
    perm += (size_t)blockIdx.y * n;
    own = i < n ? sort_key(h[(size_t)i * n + i]) : 0;
    for (int first = 0; first < n; first += 256) {
        int j = first + threadIdx.x, count = n - first < 256 ? n - first : 256;

        __syncthreads();
        keys[threadIdx.x] = j < n ? sort_key(h[(size_t)j * n + j]) : 0;
        __syncthreads();
        for (int k = 0; k < count; k++)
            rank += keys[k] > own || (keys[k] == own && first + k < i);
    }
    if (i < n)
        perm[rank] = i;
}

__global__ void identity_kernel(int *perm, int n) {
    int i = blockIdx.x * 256 + threadIdx.x;

    if (i < n)
        perm[(size_t)blockIdx.y * n + i] = i;
}

int cuda_hessian_order(struct backend *base, struct span perm, struct span h, int G, int n,
                       bool act_order) {
    struct cuda_backend *b = cuda_of(base);

    TRY(op_begin(b, "hessian_order", "G n", G, n));
    if (G < 1 || n < 1 || G > 65535)
        return status_invalid(b, "1 to 65535 matrices");
    TRY(op_needs(b, {{"perm", perm, bytes_of(4, {G, n}), 4}, {"h", h, bytes_of(4, {G, n, n}), 4}}));
    if (act_order)
        order_kernel<<<dim3(blocks_for(n, 256), G), 256, 0, b->lanes[0].stream>>>(
            (int *)perm.at, (const float *)h.at, n);
    else
        identity_kernel<<<dim3(blocks_for(n, 256), G), 256, 0, b->lanes[0].stream>>>((int *)perm.at,
                                                                                     n);
    LAUNCH_TRY(b);
    return 0;
}
