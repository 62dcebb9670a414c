// SPDX-License-Identifier: Apache-2.0
/*
 * What the files of the CUDA backend share: the opened device, how a status becomes a failure,
 * how an op checks what it was given, and 16-byte accesses.
 *
 * Order of work: everything is queued on lane 0. Loops of independent products spread over all
 * lanes, between lanes_fork() and lanes_join(). Staging and fetching have streams of their own
 * (stream.cu), tied to lane 0 by events.
 */
#pragma once

extern "C" {
#include "kernels/backend.h"
}

#include <cublasLt.h>
#include <cublas_v2.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <initializer_list>
#include <pthread.h>
#include <stdint.h>

typedef __nv_bfloat16 bf16; /* the one typedef: CUDA's own name does not fit a signature */

enum {
    N_LANES = 4,
    BLAS_WORKSPACE = 32 << 20, /* bytes a lane; what cuBLAS asks for on Hopper */
    SMALL_SIZE = 32 << 20,     /* bytes of device memory that ops use for small things */
    PINNED_SIZE = 1 << 20,     /* bytes of host memory for results that ops return */
    MAX_OP_ARGS = 8,
    N_CHOICES = 1024,
};

struct lane {
    cudaStream_t stream;
    cublasHandle_t blas;
    cudaEvent_t done;
    void *workspace; /* BLAS_WORKSPACE bytes, from the first alloc() on */
};

/* The kernel that cuBLAS chose for a kind of product (product.cu). */
struct product_choice {
    bool gram;
    int n_in, n_out;
    long bucket; /* tokens, rounded up; 0: an empty place */
    bool known;  /* cuBLAS had one */
    cublasLtMatmulAlgo_t algo;
};

struct product_choices {
    int n;
    struct product_choice table[N_CHOICES];
};

struct memory_block {
    void *at;
    size_t size;
    struct memory_block *next;
};

struct cuda_backend {
    struct backend base;
    int device;
    char name[96], library[96]; /* as in struct backend_info */
    struct lane lanes[N_LANES];
    cudaEvent_t fork;
    unsigned char *small;  /* device, SMALL_SIZE bytes, from the first alloc() on */
    unsigned char *pinned; /* host, PINNED_SIZE bytes */
    struct streamer *stager, *fetcher;
    struct utilization *utilization; /* NULL: nobody knows */
    struct product_choices choices;
    struct solver_library *solver; /* NULL: not asked for yet */

    /* the op that runs: for its failure */
    const char *op;
    const char *arg_names; /* "T n_in n_out" */
    long args[MAX_OP_ARGS];
    int n_args;
    struct failure why;

    pthread_mutex_t lock; /* guards what follows: info() may be called by any thread */
    struct memory_block *blocks;
    size_t allocated, peak;
    bool poisoned;
};

static inline struct cuda_backend *cuda_of(struct backend *b) {
    return reinterpret_cast<struct cuda_backend *>(b);
}

/* -------- how busy it is (utilization.cu) -------- */

/* NULL when it cannot be told; free and now take that. now() by any thread: as in backend_info. */
struct utilization *utilization_new(int device);
void utilization_free(struct utilization *u);
float utilization_now(const struct utilization *u);

/* -------- cuSOLVER (factor_f64.cu) -------- */

void solver_library_free(struct solver_library *s); /* NULL is fine */

/* -------- statuses (status.cu) -------- */

/* Each fills b->why and returns -EIO, or -ENOMEM when memory ran out. */
int status_cuda(struct cuda_backend *b, cudaError_t status, const char *call);
int status_blas(struct cuda_backend *b, cublasStatus_t status, const char *call);
/* A shape or span that does not fit. Returns -EINVAL. */
int status_invalid(struct cuda_backend *b, const char *format, ...) printf_format(2, 3);
/* Does @status mean that only a new process can use the device again? */
bool status_is_sticky(cudaError_t status);

#define CUDA_TRY(b, call)                                                                          \
    do {                                                                                           \
        cudaError_t status_ = (call);                                                              \
        if (status_ != cudaSuccess)                                                                \
            return status_cuda(b, status_, #call);                                                 \
    } while (0)
#define BLAS_TRY(b, call)                                                                          \
    do {                                                                                           \
        cublasStatus_t status_ = (call);                                                           \
        if (status_ != CUBLAS_STATUS_SUCCESS)                                                      \
            return status_blas(b, status_, #call);                                                 \
    } while (0)
#define LAUNCH_TRY(b) CUDA_TRY(b, cudaGetLastError())
#define TRY(call)                                                                                  \
    do {                                                                                           \
        int r_ = (call);                                                                           \
        if (r_)                                                                                    \
            return r_;                                                                             \
    } while (0)

/* -------- what an op was given (status.cu) -------- */

/* Names the running op and its shapes and makes its device the thread's. */
int op_begin_args(struct cuda_backend *b, const char *op, const char *names, int n_args,
                  const long *args);

template <typename... A>
static inline int op_begin(struct cuda_backend *b, const char *op, const char *names, A... values) {
    const long args[] = {(long)values..., 0};

    static_assert(sizeof...(values) <= MAX_OP_ARGS, "raise MAX_OP_ARGS");
    return op_begin_args(b, op, names, (int)sizeof...(values), args);
}

/* Bytes of an array; SIZE_MAX when they do not fit. A negative count counts as too large. */
size_t bytes_of(size_t element, std::initializer_list<long> counts);

struct need {
    const char *name;
    struct span span;
    size_t size; /* bytes that the op will touch */
    int align;   /* bytes */
};

/* -EINVAL unless every span is there, aligned and large enough. */
int op_needs(struct cuda_backend *b, std::initializer_list<struct need> needs);

/* -EINVAL unless offsets[0..n] start at 0 and never fall; their end is @ret_total. */
int op_offsets(struct cuda_backend *b, const int32_t *offsets, int n, long *ret_total);

/* -------- lanes (backend.cu) -------- */

/* From fork to join, work on any lane runs after what was queued and before what follows. */
int lanes_fork(struct cuda_backend *b);
int lanes_join(struct cuda_backend *b);
/* The lane with the least work so far; @load is an array of N_LANES. */
int lanes_pick(long *load, long work);

/* y [T, n_out] = x [T, n_in] * w', bf16, + beta * y; f32 accumulation (linear.cu) */
int linear_on(struct cuda_backend *b, struct lane *lane, void *y, cudaDataType y_type,
              const void *x, const void *w, long T, int n_in, int n_out, float beta);

/* The same where the count of tokens is another one at every call (product.cu). */
int product_linear(struct cuda_backend *b, struct lane *lane, bf16 *y, const bf16 *x, const bf16 *w,
                   int tokens, int n_in, int n_out);
/* h [n, n] f32 += y' x of x and y [tokens, n], f32 accumulation; likewise */
int product_gram(struct cuda_backend *b, struct lane *lane, float *h, const bf16 *y, const bf16 *x,
                 int tokens, int n);

/* -------- kernels for Hopper (hopper/) -------- */

/* Attention by wgmma; @y and @qkv aligned to 16 bytes, shapes as cuda_attention() checked them. */
bool attention_hopper_takes(struct cuda_backend *b, int head_dim);
int attention_hopper(struct cuda_backend *b, bf16 *y, const bf16 *qkv, int n_windows, int seqlen,
                     int n_heads, int n_kv_heads, int head_dim);

/*
 * expert_swiglu() by wgmma; @y, @x and @w aligned to 16 bytes, shapes as cuda_expert_swiglu()
 * checked them. @order NULL: slot s reads row s of x [n_source, n_in].
 */
bool expert_swiglu_hopper_takes(struct cuda_backend *b, const int32_t *offsets, int n_experts,
                                int n_in, int n_out);
int expert_swiglu_hopper(struct cuda_backend *b, bf16 *y, const bf16 *x, const int *order,
                         int n_source, const bf16 *w, const int32_t *offsets, int n_experts,
                         int n_in, int n_out);

/*
 * The sums of output_error() by wgmma: part [parts, 2, G, rows] f32, whose sums over parts are the
 * forms of e and of w [G, rows, n] with t = high + low, [G, n, n] lower triangular and 0 from its
 * diagonal to the next multiple of QUADRATIC_WIDTH. All aligned to 16 bytes.
 */
enum { QUADRATIC_WIDTH = 256 };
int quadratic_hopper_parts(int n);
bool quadratic_hopper_takes(struct cuda_backend *b, int G, int rows, int n);
int quadratic_hopper(struct cuda_backend *b, float *part, const bf16 *e, const bf16 *w,
                     const bf16 *high, const bf16 *low, int G, int rows, int n);

/* -------- streaming (stream.cu) -------- */

enum stream_direction { STREAM_TO_DEVICE, STREAM_TO_HOST };

int streamer_new(struct cuda_backend *b, enum stream_direction direction,
                 struct streamer **ret_streamer);
struct streamer *streamer_free(struct streamer *s); /* waits for its threads; NULL is fine */

/* -------- the ops, file by file -------- */

#define CUDA_OP(name) __typeof__(*backend_ops::name) cuda_##name
extern CUDA_OP(stage);
extern CUDA_OP(stage_wait);
extern CUDA_OP(fetch);
extern CUDA_OP(fetch_wait);
extern CUDA_OP(all_finite);
extern CUDA_OP(embed);
extern CUDA_OP(rmsnorm);
extern CUDA_OP(linear);
extern CUDA_OP(clamp);
extern CUDA_OP(rope);
extern CUDA_OP(attention);
extern CUDA_OP(route);
extern CUDA_OP(dispatch);
extern CUDA_OP(gather);
extern CUDA_OP(expert_linear);
extern CUDA_OP(swiglu);
extern CUDA_OP(expert_swiglu);
extern CUDA_OP(combine);
extern CUDA_OP(head_scratch);
extern CUDA_OP(head);
extern CUDA_OP(head_difference_scratch);
extern CUDA_OP(head_difference);
extern CUDA_OP(hessian_add);
extern CUDA_OP(cross_add);
extern CUDA_OP(hessian_order);
extern CUDA_OP(factor_scratch);
extern CUDA_OP(factor);
extern CUDA_OP(factor_f64_scratch);
extern CUDA_OP(factor_f64);
extern CUDA_OP(drift_scratch);
extern CUDA_OP(drift_correction);
extern CUDA_OP(gptq_scratch);
extern CUDA_OP(gptq);
extern CUDA_OP(refine_scratch);
extern CUDA_OP(refine);
extern CUDA_OP(rtn);
extern CUDA_OP(output_error_scratch);
extern CUDA_OP(output_error);
extern CUDA_OP(dequantize);
extern CUDA_OP(pack);
extern CUDA_OP(unpack);

/* -------- inside kernels -------- */

struct alignas(16) bf16x8 {
    __nv_bfloat162 pair[4];
};

/* Eight values at @p as f32; past @count they are 0. One 16-byte access when @aligned. */
__device__ __forceinline__ void load8(float v[8], const bf16 *p, int count, bool aligned) {
    if (aligned && count >= 8) {
        bf16x8 raw = *reinterpret_cast<const bf16x8 *>(p);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float2 f = __bfloat1622float2(raw.pair[i]);

            v[2 * i] = f.x;
            v[2 * i + 1] = f.y;
        }
        return;
    }
#pragma unroll
    for (int i = 0; i < 8; i++)
        v[i] = i < count ? __bfloat162float(p[i]) : 0.0f;
}

__device__ __forceinline__ void store8(bf16 *p, const float v[8], int count, bool aligned) {
    if (aligned && count >= 8) {
        bf16x8 raw;
#pragma unroll
        for (int i = 0; i < 4; i++)
            raw.pair[i] = __floats2bfloat162_rn(v[2 * i], v[2 * i + 1]);
        *reinterpret_cast<bf16x8 *>(p) = raw;
        return;
    }
#pragma unroll
    for (int i = 0; i < 8; i++)
        if (i < count)
            p[i] = __float2bfloat16_rn(v[i]);
}

__device__ __forceinline__ float warp_sum(float v) {
#pragma unroll
    for (int lane = 16; lane; lane >>= 1)
        v += __shfl_xor_sync(0xffffffff, v, lane);
    return v;
}

static inline bool aligned16(const void *p) {
    return (uintptr_t)p % 16 == 0;
}

static inline unsigned blocks_for(long n, long per_block) {
    return (unsigned)((n + per_block - 1) / per_block);
}
