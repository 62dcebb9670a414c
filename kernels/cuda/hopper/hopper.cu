// SPDX-License-Identifier: Apache-2.0
/*
 * Tensor maps, and whether kernels for Hopper can run. The driver's function that encodes a map is
 * looked up by name: the module is not linked with libcuda.
 */
#include "kernels/cuda/hopper/hopper.cuh"

#include <cudaTypedefs.h>

int tensor_map(struct cuda_backend *b, const struct tile_view &view, CUtensorMap *ret_map) {
    const cuuint32_t steps[5] = {1, 1, 1, 1, 1};
    PFN_cuTensorMapEncodeTiled_v12000 encode = NULL;
    cudaDriverEntryPointQueryResult found;
    CUresult r;

    CUDA_TRY(b, cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", (void **)&encode, 12000,
                                                 cudaEnableDefault, &found));
    if (found != cudaDriverEntryPointSuccess)
        return status_cuda(b, cudaErrorSymbolNotFound, "cuTensorMapEncodeTiled");
    r = encode(ret_map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, (cuuint32_t)view.n_dims,
               const_cast<void *>(view.at), view.extent, view.stride, view.box, steps,
               CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
               CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    return r == CUDA_SUCCESS ? 0 : status_cuda(b, cudaErrorInvalidValue, "cuTensorMapEncodeTiled");
}

bool hopper_runs(struct cuda_backend *b, const void *kernel) {
    struct cudaFuncAttributes code;
    int major = 0, minor = 0;

    (void)cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, b->device);
    (void)cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, b->device);
    return major == 9 && minor == 0 && cudaFuncGetAttributes(&code, kernel) == cudaSuccess &&
           code.ptxVersion == 90;
}
