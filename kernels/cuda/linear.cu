// SPDX-License-Identifier: Apache-2.0
/*
 * Products with weights: linear(), expert_linear(), expert_swiglu(), and the lookup of rows. On
 * Hopper expert_swiglu() is one kernel (hopper/experts.cu); elsewhere, and for shapes that it does
 * not take, three.
 *
 * Numerics: bf16 in, f32 accumulation, one rounding to bf16; with @add the sum is formed in f32.
 * A row-major y = x w' is, to column-major cuBLAS, y' = w x' with w transposed.
 * Experts: one product each, the largest-first of four lanes' loads deciding the lane, so the
 * tail of one overlaps the next; cuBLAS's grouped call measured half as fast.
 */
#include "kernels/cuda/device.cuh"

int linear_on(struct cuda_backend *b, struct lane *lane, void *y, cudaDataType y_type,
              const void *x, const void *w, long T, int n_in, int n_out, float beta) {
    const float alpha = 1.0f;

    BLAS_TRY(b, cublasGemmEx(lane->blas, CUBLAS_OP_T, CUBLAS_OP_N, n_out, (int)T, n_in, &alpha, w,
                             CUDA_R_16BF, n_in, x, CUDA_R_16BF, n_in, &beta, y, y_type, n_out,
                             CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT));
    return 0;
}

int cuda_linear(struct backend *base, struct span y, struct span x, struct span w, int T, int n_in,
                int n_out, bool add) {
    struct cuda_backend *b = cuda_of(base);

    TRY(op_begin(b, "linear", "T n_in n_out", T, n_in, n_out));
    TRY(op_needs(b, {{"y", y, bytes_of(2, {T, n_out}), 2},
                     {"x", x, bytes_of(2, {T, n_in}), 2},
                     {"w", w, bytes_of(2, {n_out, n_in}), 2}}));
    if (!T || !n_in || !n_out)
        return status_invalid(b, "empty");
    return linear_on(b, &b->lanes[0], y.at, CUDA_R_16BF, x.at, w.at, T, n_in, n_out,
                     add ? 1.0f : 0.0f);
}

int cuda_expert_linear(struct backend *base, struct span y, struct span x, struct span w,
                       const int32_t *offsets, int n_experts, int n_in, int n_out) {
    struct cuda_backend *b = cuda_of(base);
    long S = 0, load[N_LANES] = {};

    TRY(op_begin(b, "expert_linear", "n_experts n_in n_out", n_experts, n_in, n_out));
    TRY(op_offsets(b, offsets, n_experts, &S));
    TRY(op_needs(b, {{"y", y, bytes_of(2, {S, n_out}), 2},
                     {"x", x, bytes_of(2, {S, n_in}), 2},
                     {"w", w, bytes_of(2, {n_experts, n_out, n_in}), 2}}));
    TRY(lanes_fork(b));
    for (int e = 0; e < n_experts; e++) {
        long first = offsets[e], rows = offsets[e + 1] - first;

        if (!rows)
            continue;
        TRY(product_linear(b, &b->lanes[lanes_pick(load, rows)], (bf16 *)y.at + first * n_out,
                           (bf16 *)x.at + first * n_in, (bf16 *)w.at + (size_t)e * n_out * n_in,
                           (int)rows, n_in, n_out));
    }
    return lanes_join(b);
}

/* y row t = x row at[t]; rows of n values. One warp a row, 16 bytes a lane. */
__global__ void rows_kernel(bf16 *__restrict__ y, const bf16 *__restrict__ x,
                            const int *__restrict__ at, int n_rows, int n_source, int n,
                            bool aligned) {
    int row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32, source;

    if (row >= n_rows)
        return;
    source = at[row];
    if (source < 0 || source >= n_source)
        source = 0; /* the contract forbids it; never read out of bounds all the same */
    if (aligned) {
        const uint4 *from = (const uint4 *)(x + (size_t)source * n);
        uint4 *to = (uint4 *)(y + (size_t)row * n);

#pragma unroll 8
        for (int i = lane; i < n / 8; i += 32)
            to[i] = from[i];
    } else {
        for (int i = lane; i < n; i += 32)
            y[(size_t)row * n + i] = x[(size_t)source * n + i];
    }
}

static int copy_rows(struct cuda_backend *b, struct span y, struct span x, struct span at,
                     int n_rows, int n_source, int n) {
    TRY(op_needs(b, {{"y", y, bytes_of(2, {n_rows, n}), 2},
                     {"source", x, bytes_of(2, {n_source, n}), 2},
                     {"index", at, bytes_of(4, {n_rows}), 4}}));
    if (!n_rows || !n)
        return 0;
    if (!n_source)
        return status_invalid(b, "no rows to copy from");
    rows_kernel<<<blocks_for(n_rows, 8), 256, 0, b->lanes[0].stream>>>(
        (bf16 *)y.at, (const bf16 *)x.at, (const int *)at.at, n_rows, n_source, n,
        n % 8 == 0 && aligned16(x.at) && aligned16(y.at));
    LAUNCH_TRY(b);
    return 0;
}

int cuda_expert_swiglu(struct backend *base, struct span y, struct span x, struct span order,
                       struct span w, const int32_t *offsets, int n_experts, int T, int n_in,
                       int n_out, struct span rows, struct span gate_up) {
    struct cuda_backend *b = cuda_of(base);
    bool gathers = order.size > 0;
    long S = 0;

    TRY(op_begin(b, "expert_swiglu", "T n_experts n_in n_out", T, n_experts, n_in, n_out));
    TRY(op_offsets(b, offsets, n_experts, &S));
    if (T < 1 || n_in < 1 || n_out < 1)
        return status_invalid(b, "empty");
    if (!gathers && T != S)
        return status_invalid(b, "without an order, T has to be the count of slots, %ld", S);
    TRY(op_needs(b, {{"y", y, bytes_of(2, {S, n_out}), 2},
                     {"x", x, bytes_of(2, {T, n_in}), 2},
                     {"w", w, bytes_of(2, {n_experts, 2, n_out, n_in}), 2},
                     {"gate_up", gate_up, bytes_of(2, {S, 2, n_out}), 2}}));
    if (gathers)
        TRY(op_needs(
            b, {{"order", order, bytes_of(4, {S}), 4}, {"rows", rows, bytes_of(2, {S, n_in}), 2}}));
    if (aligned16(y.at) && aligned16(x.at) && aligned16(w.at) &&
        expert_swiglu_hopper_takes(b, offsets, n_experts, n_in, n_out))
        return expert_swiglu_hopper(b, (bf16 *)y.at, (const bf16 *)x.at,
                                    gathers ? (const int *)order.at : NULL, T, (const bf16 *)w.at,
                                    offsets, n_experts, n_in, n_out);
    if (gathers)
        TRY(cuda_gather(base, rows, x, order, (int)S, T, n_in));
    TRY(cuda_expert_linear(base, gate_up, gathers ? rows : x, w, offsets, n_experts, n_in,
                           2 * n_out));
    return cuda_swiglu(base, y, gate_up, (int)S, n_out);
}

int cuda_embed(struct backend *base, struct span x, struct span table, struct span ids, int T,
               int d, int vocab) {
    TRY(op_begin(cuda_of(base), "embed", "T d vocab", T, d, vocab));
    return copy_rows(cuda_of(base), x, table, ids, T, vocab, d);
}

int cuda_gather(struct backend *base, struct span y, struct span x, struct span order, int S, int T,
                int n) {
    TRY(op_begin(cuda_of(base), "gather", "S T n", S, T, n));
    return copy_rows(cuda_of(base), y, x, order, S, T, n);
}
