// SPDX-License-Identifier: Apache-2.0
/*
 * The device: opening and closing it, its memory, its lanes, and the table of its ops.
 *
 * Memory: spans are cudaMalloc()ed, so they are aligned to 256. The first alloc() takes, beside
 * its span, the workspaces of cuBLAS (fixed, which makes cuBLAS deterministic) and SMALL_SIZE
 * bytes for ops. close() resets the device, so that a process that holds no backend holds none
 * of its memory.
 */
#include "kernels/cuda/device.cuh"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern "C" const struct backend_ops backend_cuda;

/* -------- opening -------- */

static int open_lanes(struct cuda_backend *b) {
    CUDA_TRY(b, cudaEventCreateWithFlags(&b->fork, cudaEventDisableTiming));
    for (struct lane &lane : b->lanes) {
        CUDA_TRY(b, cudaStreamCreateWithFlags(&lane.stream, cudaStreamNonBlocking));
        CUDA_TRY(b, cudaEventCreateWithFlags(&lane.done, cudaEventDisableTiming));
        BLAS_TRY(b, cublasCreate(&lane.blas));
        BLAS_TRY(b, cublasSetStream(lane.blas, lane.stream));
        BLAS_TRY(b, cublasSetMathMode(lane.blas, CUBLAS_DEFAULT_MATH));
        BLAS_TRY(b, cublasSetAtomicsMode(lane.blas, CUBLAS_ATOMICS_NOT_ALLOWED));
    }
    return 0;
}

/* Another version of cuBLAS may choose other kernels, which sum in another order. */
static int describe_library(struct cuda_backend *b) {
    int version = 0;

    BLAS_TRY(b, cublasGetVersion(b->lanes[0].blas, &version));
    snprintf(b->library, sizeof(b->library), "cuBLAS %d.%d.%d", version / 10000,
             version / 100 % 100, version % 100);
    return 0;
}

static int open_device(struct cuda_backend *b) {
    cudaDeviceProp properties;

    TRY(op_begin(b, "open", "device", b->device));
    CUDA_TRY(b, cudaGetDeviceProperties(&properties, b->device));
    snprintf(b->name, sizeof(b->name), "%.95s", properties.name);
    b->utilization = utilization_new(b->device);
    CUDA_TRY(b, cudaMallocHost(&b->pinned, PINNED_SIZE));
    TRY(open_lanes(b));
    TRY(describe_library(b));
    TRY(streamer_new(b, STREAM_TO_DEVICE, &b->stager));
    return streamer_new(b, STREAM_TO_HOST, &b->fetcher);
}

static void cuda_close(struct backend *base) {
    struct cuda_backend *b = cuda_of(base);

    if (!b)
        return;
    (void)cudaSetDevice(b->device);
    b->stager = streamer_free(b->stager);
    b->fetcher = streamer_free(b->fetcher);
    (void)cudaDeviceSynchronize();
    for (struct lane &lane : b->lanes) {
        if (lane.blas)
            (void)cublasDestroy(lane.blas);
        (void)cudaFree(lane.workspace);
        if (lane.done)
            (void)cudaEventDestroy(lane.done);
        if (lane.stream)
            (void)cudaStreamDestroy(lane.stream);
    }
    if (b->fork)
        (void)cudaEventDestroy(b->fork);
    while (b->blocks) {
        struct memory_block *block = b->blocks;

        b->blocks = block->next;
        (void)cudaFree(block->at);
        free(block);
    }
    (void)cudaFree(b->small);
    (void)cudaFreeHost(b->pinned);
    utilization_free(b->utilization);
    solver_library_free(b->solver);
    (void)cudaDeviceReset(); /* the context itself holds memory too */
    pthread_mutex_destroy(&b->lock);
    free(b);
}

static int cuda_open(int device, struct backend **ret_backend, struct failure *failure) {
    struct cuda_backend *b;
    int count = 0, r;
    cudaError_t status = cudaGetDeviceCount(&count);

    if (status != cudaSuccess || device < 0 || device >= count)
        return failure_set(failure, -ENODEV, "no_device",
                           "check the driver and its devices with nvidia-smi",
                           "cannot open CUDA device %d: %s", device,
                           status != cudaSuccess ? cudaGetErrorString(status) : "there is none");
    b = static_cast<struct cuda_backend *>(calloc(1, sizeof(*b)));
    if (!b)
        return failure_oom(failure);
    b->base.ops = &backend_cuda;
    b->device = device;
    pthread_mutex_init(&b->lock, NULL);
    r = open_device(b);
    if (r) {
        if (failure)
            *failure = b->why;
        cuda_close(&b->base);
        return r;
    }
    *ret_backend = &b->base;
    return 0;
}

static void cuda_info(struct backend *base, struct backend_info *ret_info) {
    struct cuda_backend *b = cuda_of(base);

    memset(ret_info, 0, sizeof(*ret_info));
    pthread_mutex_lock(&b->lock);
    snprintf(ret_info->name, sizeof(ret_info->name), "%s", b->name);
    snprintf(ret_info->model, sizeof(ret_info->model), "%s", b->name);
    snprintf(ret_info->library, sizeof(ret_info->library), "%s", b->library);
    ret_info->memory_allocated = b->allocated;
    ret_info->memory_peak = b->peak;
    ret_info->poisoned = b->poisoned;
    pthread_mutex_unlock(&b->lock);
    ret_info->utilization = utilization_now(b->utilization);
    if (cudaSetDevice(b->device) != cudaSuccess ||
        cudaMemGetInfo(&ret_info->memory_free, &ret_info->memory_total) != cudaSuccess)
        ret_info->memory_free = ret_info->memory_total = 0;
}

static const struct failure *cuda_failure(struct backend *base) {
    return &cuda_of(base)->why;
}

/* -------- memory: the list is the op thread's, the counters are info()'s too -------- */

static void account(struct cuda_backend *b, size_t taken, size_t given) {
    pthread_mutex_lock(&b->lock);
    b->allocated += taken - given;
    if (b->allocated > b->peak)
        b->peak = b->allocated;
    pthread_mutex_unlock(&b->lock);
}

/* What ops need beside their spans; kept until close(). */
static int take_workspaces(struct cuda_backend *b) {
    for (struct lane &lane : b->lanes) {
        if (lane.workspace)
            continue;
        CUDA_TRY(b, cudaMalloc(&lane.workspace, BLAS_WORKSPACE));
        account(b, BLAS_WORKSPACE, 0);
        BLAS_TRY(b, cublasSetWorkspace(lane.blas, lane.workspace, BLAS_WORKSPACE));
    }
    if (!b->small) {
        CUDA_TRY(b, cudaMalloc(&b->small, SMALL_SIZE));
        account(b, SMALL_SIZE, 0);
    }
    return 0;
}

static int cuda_alloc(struct backend *base, size_t size, struct span *ret_span) {
    struct cuda_backend *b = cuda_of(base);
    struct memory_block *block;
    cudaError_t status;

    TRY(op_begin(b, "alloc", "bytes", size));
    if (!size)
        return status_invalid(b, "nothing to allocate");
    TRY(take_workspaces(b));
    block = static_cast<struct memory_block *>(calloc(1, sizeof(*block)));
    if (!block)
        return failure_oom(&b->why);
    status = cudaMalloc(&block->at, size);
    if (status != cudaSuccess) {
        free(block);
        return status_cuda(b, status, "cudaMalloc");
    }
    block->size = size;
    block->next = b->blocks;
    b->blocks = block;
    account(b, size, 0);
    *ret_span = (struct span){static_cast<unsigned char *>(block->at), size};
    return 0;
}

static void cuda_free(struct backend *base, struct span *span) {
    struct cuda_backend *b = cuda_of(base);

    for (struct memory_block **at = &b->blocks; *at; at = &(*at)->next) {
        struct memory_block *block = *at;

        if (block->at != span->at)
            continue;
        *at = block->next;
        (void)cudaSetDevice(b->device);
        (void)cudaFree(block->at); /* waits for the work that uses it */
        account(b, 0, block->size);
        free(block);
        break;
    }
    *span = (struct span){NULL, 0};
}

static int cuda_zero(struct backend *base, struct span dst) {
    struct cuda_backend *b = cuda_of(base);

    TRY(op_begin(b, "zero", "bytes", dst.size));
    if (!dst.size)
        return status_invalid(b, "an empty span");
    CUDA_TRY(b, cudaMemsetAsync(dst.at, 0, dst.size, b->lanes[0].stream));
    return 0;
}

/* Memory that is not pinned may be given back at once: CUDA copies it away before it returns. */
static int cuda_upload(struct backend *base, struct span dst, const void *src) {
    struct cuda_backend *b = cuda_of(base);

    TRY(op_begin(b, "upload", "bytes", dst.size));
    if (!dst.size)
        return status_invalid(b, "an empty span");
    CUDA_TRY(b, cudaMemcpyAsync(dst.at, src, dst.size, cudaMemcpyHostToDevice, b->lanes[0].stream));
    return 0;
}

static int cuda_download(struct backend *base, void *dst, struct span src) {
    struct cuda_backend *b = cuda_of(base);

    TRY(op_begin(b, "download", "bytes", src.size));
    if (!src.size)
        return status_invalid(b, "an empty span");
    CUDA_TRY(b, cudaMemcpyAsync(dst, src.at, src.size, cudaMemcpyDeviceToHost, b->lanes[0].stream));
    CUDA_TRY(b, cudaStreamSynchronize(b->lanes[0].stream));
    return 0;
}

static int cuda_copy(struct backend *base, struct span dst, struct span src) {
    struct cuda_backend *b = cuda_of(base);

    TRY(op_begin(b, "copy", "dst_bytes src_bytes", dst.size, src.size));
    if (!dst.size || dst.size != src.size)
        return status_invalid(b, "empty spans or two sizes");
    CUDA_TRY(
        b, cudaMemcpyAsync(dst.at, src.at, dst.size, cudaMemcpyDeviceToDevice, b->lanes[0].stream));
    return 0;
}

static int cuda_sync(struct backend *base) {
    struct cuda_backend *b = cuda_of(base);

    TRY(op_begin(b, "sync", ""));
    CUDA_TRY(b, cudaStreamSynchronize(b->lanes[0].stream));
    LAUNCH_TRY(b);
    return 0;
}

/* -------- lanes -------- */

int lanes_fork(struct cuda_backend *b) {
    CUDA_TRY(b, cudaEventRecord(b->fork, b->lanes[0].stream));
    for (int i = 1; i < N_LANES; i++)
        CUDA_TRY(b, cudaStreamWaitEvent(b->lanes[i].stream, b->fork, 0));
    return 0;
}

int lanes_join(struct cuda_backend *b) {
    for (int i = 1; i < N_LANES; i++) {
        CUDA_TRY(b, cudaEventRecord(b->lanes[i].done, b->lanes[i].stream));
        CUDA_TRY(b, cudaStreamWaitEvent(b->lanes[0].stream, b->lanes[i].done, 0));
    }
    return 0;
}

int lanes_pick(long *load, long work) {
    int best = 0;

    for (int i = 1; i < N_LANES; i++)
        if (load[i] < load[best])
            best = i;
    load[best] += work;
    return best;
}

/* -------- the table -------- */

extern "C" const struct backend_ops backend_cuda = {
    .name = "cuda",
    .act = DTYPE_BF16,
    .streams = true,
    .batch_tokens = 32768,
    .open = cuda_open,
    .close = cuda_close,
    .info = cuda_info,
    .failure = cuda_failure,
    .alloc = cuda_alloc,
    .free = cuda_free,
    .zero = cuda_zero,
    .upload = cuda_upload,
    .download = cuda_download,
    .copy = cuda_copy,
    .sync = cuda_sync,
    .stage = cuda_stage,
    .stage_wait = cuda_stage_wait,
    .fetch = cuda_fetch,
    .fetch_wait = cuda_fetch_wait,
    .all_finite = cuda_all_finite,
    .embed = cuda_embed,
    .rmsnorm = cuda_rmsnorm,
    .linear = cuda_linear,
    .clamp = cuda_clamp,
    .rope = cuda_rope,
    .attention = cuda_attention,
    .route = cuda_route,
    .dispatch = cuda_dispatch,
    .gather = cuda_gather,
    .expert_linear = cuda_expert_linear,
    .swiglu = cuda_swiglu,
    .expert_swiglu = cuda_expert_swiglu,
    .combine = cuda_combine,
    .head_scratch = cuda_head_scratch,
    .head = cuda_head,
    .head_difference_scratch = cuda_head_difference_scratch,
    .head_difference = cuda_head_difference,
    .hessian_add = cuda_hessian_add,
    .cross_add = cuda_cross_add,
    .hessian_order = cuda_hessian_order,
    .factor_scratch = cuda_factor_scratch,
    .factor = cuda_factor,
    .factor_f64_scratch = cuda_factor_f64_scratch,
    .factor_f64 = cuda_factor_f64,
    .drift_scratch = cuda_drift_scratch,
    .drift_correction = cuda_drift_correction,
    .gptq_scratch = cuda_gptq_scratch,
    .gptq = cuda_gptq,
    .refine_scratch = cuda_refine_scratch,
    .refine = cuda_refine,
    .rtn = cuda_rtn,
    .output_error_scratch = cuda_output_error_scratch,
    .output_error = cuda_output_error,
    .dequantize = cuda_dequantize,
    .pack = cuda_pack,
    .unpack = cuda_unpack,
};
