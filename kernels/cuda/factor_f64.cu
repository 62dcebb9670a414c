// SPDX-License-Identifier: Apache-2.0
/*
 * factor.cu for one matrix in float64, by cuSOLVER's Xpotrf and Xtrtri. cuSOLVER is loaded by the
 * first call: it is large, and few jobs need it.
 *
 * scratch: A f64 [n, n]; what cuSOLVER works in, WORKSPACE matrices more; a flag.
 */
#include "kernels/cuda/device.cuh"

#include <cusolverDn.h>
#include <dlfcn.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)
#define LIBRARY "libcusolver.so." TEXT(CUSOLVER_VER_MAJOR)

enum { WORKSPACE = 3, LEAST_WORKSPACE = 16 << 20 };

/* cuSOLVER, opened or not. */
struct solver_library {
    void *module; /* NULL: it is not there */
    cusolverDnHandle_t handle;
    cusolverDnParams_t params;
    __typeof__(&cusolverDnXpotrf_bufferSize) potrf_size;
    __typeof__(&cusolverDnXpotrf) potrf;
    __typeof__(&cusolverDnXtrtri_bufferSize) trtri_size;
    __typeof__(&cusolverDnXtrtri) trtri;
    __typeof__(&cusolverDnDestroy) destroy;
    __typeof__(&cusolverDnDestroyParams) destroy_params;
};

template <typename F> static bool find(struct solver_library *s, F *function, const char *name) {
    *function = reinterpret_cast<F>(dlsym(s->module, name));
    return *function != NULL;
}

static bool open_handle(struct solver_library *s, cudaStream_t stream) {
    __typeof__(&cusolverDnCreate) create;
    __typeof__(&cusolverDnCreateParams) create_params;
    __typeof__(&cusolverDnSetStream) set_stream;

    if (!find(s, &create, "cusolverDnCreate") ||
        !find(s, &create_params, "cusolverDnCreateParams") ||
        !find(s, &set_stream, "cusolverDnSetStream") || create(&s->handle))
        return false;
    return !set_stream(s->handle, stream) && !create_params(&s->params);
}

void solver_library_free(struct solver_library *s) {
    if (!s)
        return;
    if (s->params)
        s->destroy_params(s->params);
    if (s->handle)
        s->destroy(s->handle);
    if (s->module)
        dlclose(s->module);
    free(s);
}

/* *b->solver, opened once. -ENOSYS: it is not there, or not as expected. */
static int solver_open(struct cuda_backend *b) {
    struct solver_library *s = b->solver;

    if (!s) {
        s = (struct solver_library *)calloc(1, sizeof(*s));
        if (!s)
            return failure_oom(&b->why);
        s->module = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
        if (s->module &&
            (!find(s, &s->destroy, "cusolverDnDestroy") ||
             !find(s, &s->destroy_params, "cusolverDnDestroyParams") ||
             !find(s, &s->potrf_size, "cusolverDnXpotrf_bufferSize") ||
             !find(s, &s->potrf, "cusolverDnXpotrf") ||
             !find(s, &s->trtri_size, "cusolverDnXtrtri_bufferSize") ||
             !find(s, &s->trtri, "cusolverDnXtrtri") || !open_handle(s, b->lanes[0].stream))) {
            solver_library_free(s);
            s = (struct solver_library *)calloc(1, sizeof(*s));
            if (!s)
                return failure_oom(&b->why);
        }
        b->solver = s;
    }
    if (s->module)
        return 0;
    return failure_set(&b->why, -ENOSYS, "library_missing", "install CUDA's " LIBRARY,
                       "'" LIBRARY "' cannot be loaded");
}

static int status_solver(struct cuda_backend *b, cusolverStatus_t status, const char *call) {
    return failure_set(&b->why, -EIO, "device_failed", "run the job again",
                       "cuSOLVER status %d in %.120s", (int)status, call);
}

#define SOLVER_TRY(b, call)                                                                        \
    do {                                                                                           \
        cusolverStatus_t status_ = (call);                                                         \
        if (status_ != CUSOLVER_STATUS_SUCCESS)                                                    \
            return status_solver(b, status_, #call);                                               \
    } while (0)

/* -------- kernels -------- */

/* One block: what is added to the diagonal of h [n, n]. */
__global__ void damping_f64_kernel(double *added, float damp, const float *h, int n) {
    __shared__ double sums[256];
    double sum = 0;

    for (int i = threadIdx.x; i < n; i += 256) {
        float d = h[(size_t)i * n + i];

        sum += d == 0.0f ? 1.0f : d;
    }
    sums[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x)
        return;
    for (int i = 1; i < 256; i++)
        sum += sums[i];
    *added = damp * (sum / n);
}

/* a, lower triangle = J (permuted h + damping) J; zeros above. */
__global__ void gather_f64_kernel(double *a, const float *h, const int *perm, const double *added,
                                  int n) {
    int j = blockIdx.x * 256 + threadIdx.x, i = blockIdx.y, row, column;
    double value;

    if (j >= n)
        return;
    if (j > i) {
        a[(size_t)i * n + j] = 0;
        return;
    }
    row = perm[n - 1 - i];
    column = perm[n - 1 - j];
    if ((unsigned)row >= (unsigned)n || (unsigned)column >= (unsigned)n)
        row = column = 0;
    value = h[(size_t)max(row, column) * n + min(row, column)];
    if (i == j)
        value = (value == 0 ? 1 : value) + *added;
    a[(size_t)i * n + j] = value;
}

/* u = a reversed and rounded; *finite becomes 0 when an element is not. */
__global__ void round_kernel(float *u, const double *a, int *finite, size_t size) {
    size_t i = (size_t)blockIdx.x * 256 + threadIdx.x;

    if (i >= size)
        return;
    u[size - 1 - i] = (float)a[i];
    if (!isfinite(a[i]))
        *finite = 0;
}

/* -------- the op -------- */

struct f64_layout {
    size_t work, work_size, small, total; /* offsets in scratch, bytes */
};

static struct f64_layout f64_layout(int n) {
    struct f64_layout at = {};
    size_t matrix = bytes_of(8, {n, n});

    if (n < 1 || matrix > SIZE_MAX / 8) {
        at.total = SIZE_MAX;
        return at;
    }
    at.work = (matrix + 255) / 256 * 256;
    at.work_size = WORKSPACE * at.work + LEAST_WORKSPACE;
    at.small = at.work + at.work_size;
    at.total = at.small + 256;
    return at;
}

size_t cuda_factor_f64_scratch(struct backend *base, int n) {
    (void)base;
    return f64_layout(n).total;
}

/* In scratch: double added; int info; int finite. */
struct f64_small {
    double added;
    int info, finite;
};

/* One call of cuSOLVER, with the memory that it asks for; waits. @sizes and @call are given that.
 */
template <typename S, typename C>
static int solver_call(struct cuda_backend *b, unsigned char *work, size_t work_size, S sizes,
                       C call) {
    size_t device = 0, host = 0;
    cusolverStatus_t status;
    void *host_work;

    SOLVER_TRY(b, sizes(&device, &host));
    if (device > work_size)
        return status_invalid(b, "cuSOLVER wants %zu bytes, there are %zu", device, work_size);
    host_work = malloc(host + 1);
    if (!host_work)
        return failure_oom(&b->why);
    status = call(work, device, host_work, host);
    if (!status)
        status = b->base.ops->sync(&b->base) ? CUSOLVER_STATUS_EXECUTION_FAILED : status;
    free(host_work);
    SOLVER_TRY(b, status);
    return 0;
}

/* A's lower triangle, row-major, is cuSOLVER's upper one: it becomes L. */
static int factor_a(struct cuda_backend *b, double *a, unsigned char *work, size_t work_size,
                    int *info, int n) {
    const cublasFillMode_t upper = CUBLAS_FILL_MODE_UPPER;
    const struct solver_library *s = b->solver;

    return solver_call(
        b, work, work_size,
        [=](size_t *device, size_t *host) {
            return s->potrf_size(s->handle, s->params, upper, n, CUDA_R_64F, a, n, CUDA_R_64F,
                                 device, host);
        },
        [=](void *device_work, size_t device, void *host_work, size_t host) {
            return s->potrf(s->handle, s->params, upper, n, CUDA_R_64F, a, n, CUDA_R_64F,
                            device_work, device, host_work, host, info);
        });
}

/* L becomes its inverse. */
static int invert_a(struct cuda_backend *b, double *a, unsigned char *work, size_t work_size,
                    int *info, int n) {
    const cublasFillMode_t upper = CUBLAS_FILL_MODE_UPPER;
    const cublasDiagType_t diagonal = CUBLAS_DIAG_NON_UNIT;
    const struct solver_library *s = b->solver;

    return solver_call(
        b, work, work_size,
        [=](size_t *device, size_t *host) {
            return s->trtri_size(s->handle, upper, diagonal, n, CUDA_R_64F, a, n, device, host);
        },
        [=](void *device_work, size_t device, void *host_work, size_t host) {
            return s->trtri(s->handle, upper, diagonal, n, CUDA_R_64F, a, n, device_work, device,
                            host_work, host, info);
        });
}

/* The square of the largest over the least of the diagonal of @a [n, n]; waits. */
static int read_condition(struct cuda_backend *b, const double *a, int n, float *ret_condition) {
    double *diagonal = (double *)malloc(sizeof(double) * n), least = INFINITY, most = 0;
    cudaError_t status;

    if (!diagonal)
        return failure_oom(&b->why);
    status = cudaMemcpy2D(diagonal, sizeof(double), a, sizeof(double) * ((size_t)n + 1),
                          sizeof(double), n, cudaMemcpyDeviceToHost);
    for (int i = 0; i < n && !status; i++) {
        least = fmin(least, diagonal[i]);
        most = fmax(most, diagonal[i]);
    }
    free(diagonal);
    CUDA_TRY(b, status);
    *ret_condition = (float)(most / least * (most / least));
    return 0;
}

/* @small on the device. Sets *info: not 0 when u is of no use. */
static int factor_one(struct cuda_backend *b, float *u, double *a, unsigned char *work,
                      size_t work_size, struct f64_small *small, int32_t *info, int n) {
    cudaStream_t stream = b->lanes[0].stream;
    size_t size = (size_t)n * n;
    struct f64_small found;

    TRY(factor_a(b, a, work, work_size, &small->info, n));
    CUDA_TRY(b, cudaMemcpy(&found, small, sizeof(found), cudaMemcpyDeviceToHost));
    *info = found.info;
    if (*info)
        return 0;
    TRY(invert_a(b, a, work, work_size, &small->info, n));
    round_kernel<<<blocks_for((long)size, 256), 256, 0, stream>>>(u, a, &small->finite, size);
    LAUNCH_TRY(b);
    CUDA_TRY(b, cudaStreamSynchronize(stream));
    CUDA_TRY(b, cudaMemcpy(&found, small, sizeof(found), cudaMemcpyDeviceToHost));
    *info = found.info ? found.info : found.finite ? 0 : n + 1;
    return 0;
}

int cuda_factor_f64(struct backend *base, struct span u, struct span h, struct span perm,
                    float damp, int32_t *info, float *condition, int n, struct span scratch) {
    struct cuda_backend *b = cuda_of(base);
    struct f64_layout at = f64_layout(n);
    struct f64_small *small = (struct f64_small *)(scratch.at + at.small), fresh = {0, 0, 1};
    double *a = (double *)scratch.at;
    cudaStream_t stream = b->lanes[0].stream;

    TRY(op_begin(b, "factor_f64", "n", n));
    if (n < 1 || n > 65535)
        return status_invalid(b, "1 to 65535 columns");
    TRY(op_needs(b, {{"u", u, bytes_of(4, {n, n}), 4},
                     {"h", h, bytes_of(4, {n, n}), 4},
                     {"perm", perm, bytes_of(4, {n}), 4},
                     {"scratch", scratch, at.total, 16}}));
    TRY(solver_open(b));
    CUDA_TRY(b, cudaMemcpyAsync(small, &fresh, sizeof(fresh), cudaMemcpyHostToDevice, stream));
    damping_f64_kernel<<<1, 256, 0, stream>>>(&small->added, damp, (const float *)h.at, n);
    LAUNCH_TRY(b);
    gather_f64_kernel<<<dim3(blocks_for(n, 256), n), 256, 0, stream>>>(
        a, (const float *)h.at, (const int *)perm.at, &small->added, n);
    LAUNCH_TRY(b);
    TRY(factor_one(b, (float *)u.at, a, scratch.at + at.work, at.work_size, small, info, n));
    if (*info)
        return 0;
    TRY(read_condition(b, a, n, condition));
    if (!isfinite(*condition)) /* of an infinite matrix the inverse is 0 */
        *info = n + 1;
    return 0;
}
