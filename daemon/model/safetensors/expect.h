// SPDX-License-Identifier: Apache-2.0
/* Holding one tensor of a model folder to what it must be. */
#pragma once

#include "base/failure.h"
#include "daemon/model/safetensors/tensor.h"

#define EXPECT_FLOATS (1u << DTYPE_F32 | 1u << DTYPE_F16 | 1u << DTYPE_BF16)
#define EXPECT_INT32 (1u << DTYPE_I32)
#define EXPECT_DIMS_MAX 3

/* What one tensor must be: [shape[0]] or [shape[0], shape[1]] or so on. */
struct expected {
    unsigned int dtypes; /* set of 1 << enum dtype */
    int n_dims;
    uint64_t shape[EXPECT_DIMS_MAX];
};

/* The folder that is looked at; all borrowed. */
struct expecting {
    const char *dir, *listing; /* for messages: the folder, and the file that lists its tensors */
    const char *missing_hint;  /* what to do when one is missing */
    struct tensor_finder tensors;
    struct failure *failure;
};

/*
 * expect_tensor() - the tensor called @name is there, with the shape and one of the types.
 * Return: 0, -EBADMSG (model_invalid) or -ENOENT (model_incomplete). Any thread.
 */
int expect_tensor(const struct expecting *expecting, const char *name,
                  const struct expected *expected);

/* expect_fits() - is @t there, as @expected? NULL is fine. Any thread. */
bool expect_fits(const struct tensor *t, const struct expected *expected);
