// SPDX-License-Identifier: Apache-2.0
/*
 * Hessians: accumulating them and ordering columns by their diagonals.
 *
 * hessian_add(): one bf16 product with f32 accumulation and f32 result for each group, spread
 * over the lanes. The products of two bf16 are exact in f32. The full square is computed.
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
