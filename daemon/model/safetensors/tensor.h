// SPDX-License-Identifier: Apache-2.0
/* A named array, wherever it lies, and the way to find one by its name. */
#pragma once

#include "base/dtype.h"

#include <stddef.h>
#include <stdint.h>

#define TENSOR_DIMS_MAX 8

struct tensor {
    const char *name; /* owned by the file */
    enum dtype dtype;
    int n_dims;
    uint64_t shape[TENSOR_DIMS_MAX];
    size_t n;         /* elements: the product of the shape */
    size_t size;      /* bytes */
    const void *data; /* in the mapping; any alignment */
};

/* Whatever holds tensors: a file, a checkpoint, a checkpoint with some layers replaced. */
struct tensor_finder {
    /* The tensor called @name, or NULL; it lives as long as @ctx. Any thread. */
    const struct tensor *(*find)(const void *ctx, const char *name);
    const void *ctx; /* borrowed */
};

/* tensor_find() - the tensor called @name, or NULL. */
static inline const struct tensor *tensor_find(const struct tensor_finder *finder,
                                               const char *name) {
    return finder->find(finder->ctx, name);
}
