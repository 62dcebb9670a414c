// SPDX-License-Identifier: Apache-2.0
/*
 * From the statuses of CUDA and cuBLAS, and from shapes that do not fit, to a failure
 * that names the op, its shapes, the status and what to do.
 */
#include "kernels/cuda/device.cuh"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int op_begin_args(struct cuda_backend *b, const char *op, const char *names, int n_args,
                  const long *args) {
    b->op = op;
    b->arg_names = names;
    b->n_args = n_args;
    memcpy(b->args, args, sizeof(*args) * n_args);
    CUDA_TRY(b, cudaSetDevice(b->device));
    return 0;
}

/* "linear (T 5, n_in 8)" */
static void describe_op(const struct cuda_backend *b, char *text, size_t size) {
    const char *name = b->arg_names;
    size_t used = snprintf(text, size, "%s", b->op);

    for (int i = 0; i < b->n_args && *name && used < size; i++) {
        size_t length = strcspn(name, " ");

        used += snprintf(text + used, size - used, "%s%.*s %ld", i ? ", " : " (", (int)length, name,
                         b->args[i]);
        name += length;
        name += *name == ' ';
    }
    if (b->n_args && used < size)
        snprintf(text + used, size - used, ")");
}

bool status_is_sticky(cudaError_t status) {
    switch (status) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorAssert:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorContextIsDestroyed:
    case cudaErrorExternalDevice:
    case cudaErrorUnknown:
        return true;
    default:
        return false;
    }
}

static void poison(struct cuda_backend *b) {
    pthread_mutex_lock(&b->lock);
    b->poisoned = true;
    pthread_mutex_unlock(&b->lock);
}

static int fail(struct cuda_backend *b, int r, const char *library, const char *status,
                const char *call, const char *hint) {
    char op[256];

    describe_op(b, op, sizeof(op));
    return failure_set(&b->why, r, r == -ENOMEM ? "device_memory" : "device_failed", hint,
                       "%s failed on device %d: %s %s in %.120s", op, b->device, library, status,
                       call);
}

int status_cuda(struct cuda_backend *b, cudaError_t status, const char *call) {
    if (status == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError(); /* it is not sticky; do not report it twice */
        return fail(b, -ENOMEM, "CUDA", cudaGetErrorName(status), call,
                    "lower the batch or nsamples, or wait until others free the device");
    }
    if (status_is_sticky(status)) {
        poison(b);
        return fail(b, -EIO, "CUDA", cudaGetErrorName(status), call,
                    "the device's context is lost: the process has to be restarted");
    }
    (void)cudaGetLastError();
    return fail(b, -EIO, "CUDA", cudaGetErrorName(status), call,
                "check the driver with nvidia-smi and the kernel log for Xid errors");
}

int status_blas(struct cuda_backend *b, cublasStatus_t status, const char *call) {
    cudaError_t last = cudaPeekAtLastError();

    if (status_is_sticky(last))
        return status_cuda(b, last, call);
    if (status == CUBLAS_STATUS_ALLOC_FAILED)
        return fail(b, -ENOMEM, "cuBLAS", cublasGetStatusName(status), call,
                    "lower the batch, or wait until others free the device");
    return fail(b, -EIO, "cuBLAS", cublasGetStatusName(status), call,
                "check that the installed cuBLAS fits the driver (nvidia-smi)");
}

int status_invalid(struct cuda_backend *b, const char *format, ...) {
    char op[256], detail[200];
    va_list list;

    va_start(list, format);
    vsnprintf(detail, sizeof(detail), format, list);
    va_end(list);
    describe_op(b, op, sizeof(op));
    return failure_set(&b->why, -EINVAL, "invalid_shape", NULL, "%s: %s", op, detail);
}

size_t bytes_of(size_t element, std::initializer_list<long> counts) {
    size_t size = element;

    for (long count : counts)
        if (count < 0 || __builtin_mul_overflow(size, (size_t)count, &size))
            return SIZE_MAX;
    return size;
}

int op_needs(struct cuda_backend *b, std::initializer_list<struct need> needs) {
    for (const struct need &need : needs) {
        if (need.size == SIZE_MAX)
            return status_invalid(b, "a count is negative or '%s' is too large", need.name);
        if (need.size > need.span.size)
            return status_invalid(b, "'%s' has %zu bytes and needs %zu", need.name, need.span.size,
                                  need.size);
        if (need.size && (uintptr_t)need.span.at % need.align)
            return status_invalid(b, "'%s' is not aligned to %d bytes", need.name, need.align);
    }
    return 0;
}

int op_offsets(struct cuda_backend *b, const int32_t *offsets, int n, long *ret_total) {
    if (n < 1 || !offsets || offsets[0] != 0)
        return status_invalid(b, "offsets have to start at 0");
    for (int i = 0; i < n; i++)
        if (offsets[i + 1] < offsets[i])
            return status_invalid(b, "offsets fall at %d", i);
    *ret_total = offsets[n];
    return 0;
}
