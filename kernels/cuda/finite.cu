// SPDX-License-Identifier: Apache-2.0
/*
 * all_finite(): one pass over x at the bandwidth of the memory; who finds an exponent of all ones
 * stores a 1. All that store, store the same, so no order matters. Memory: one word of b->small.
 */
#include "kernels/cuda/device.cuh"

__global__ void find_kernel(int *found, const uint16_t *x, size_t n) {
    size_t n8 = n / 8, step = (size_t)gridDim.x * blockDim.x;
    size_t first = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    bool here = false;

    for (size_t i = first; i < n8; i += step) {
        uint4 eight = reinterpret_cast<const uint4 *>(x)[i];
        const uint32_t words[4] = {eight.x, eight.y, eight.z, eight.w};
#pragma unroll
        for (int k = 0; k < 4; k++)
            here |= (words[k] & 0x7f80) == 0x7f80 || (words[k] & 0x7f800000) == 0x7f800000;
    }
    for (size_t i = 8 * n8 + first; i < n; i += step)
        here |= (x[i] & 0x7f80) == 0x7f80;
    if (here)
        *found = 1;
}

int cuda_all_finite(struct backend *base, struct span x, size_t n, bool *ret_finite) {
    struct cuda_backend *b = cuda_of(base);
    cudaStream_t stream = b->lanes[0].stream;
    int *found = reinterpret_cast<int *>(b->small), *host = reinterpret_cast<int *>(b->pinned);

    TRY(op_begin(b, "all_finite", "n", n));
    TRY(op_needs(b, {{"x", x, bytes_of(sizeof(bf16), {(long)n}), 16}}));
    CUDA_TRY(b, cudaMemsetAsync(found, 0, sizeof(*found), stream));
    find_kernel<<<1024, 256, 0, stream>>>(found, reinterpret_cast<const uint16_t *>(x.at), n);
    LAUNCH_TRY(b);
    CUDA_TRY(b, cudaMemcpyAsync(host, found, sizeof(*found), cudaMemcpyDeviceToHost, stream));
    CUDA_TRY(b, cudaStreamSynchronize(stream));
    *ret_finite = *host == 0;
    return 0;
}
