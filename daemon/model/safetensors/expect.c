// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/safetensors/expect.h"

#include "base/macros.h"

#include <errno.h>
#include <stdio.h>

#define FIT_HINT "the tensors do not fit config.json: fetch both from one place"

static int missing(const struct expecting *e, const char *name) {
    return failure_set(e->failure, -ENOENT, "model_incomplete", e->missing_hint,
                       "model '%s' lacks tensor '%s': '%s' does not have it", e->dir, name,
                       e->listing);
}

static int wrong_dtype(const struct expecting *e, const struct tensor *tensor,
                       const struct expected *expected) {
    return failure_set(e->failure, -EBADMSG, "model_invalid", FIT_HINT,
                       "model '%s': tensor '%s' is %s, not %s", e->dir, tensor->name,
                       dtype_name(tensor->dtype),
                       expected->dtypes == EXPECT_INT32 ? "I32" : "F32, F16 or BF16");
}

static void format_shape(char *text, size_t size, int n_dims, const uint64_t *shape) {
    size_t at = 0;

    text[0] = '\0';
    for (int i = 0; i < n_dims && at < size; i++)
        at += snprintf(text + at, size - at, "%s%llu", i ? "," : "", (unsigned long long)shape[i]);
}

static int wrong_shape(const struct expecting *e, const struct tensor *tensor,
                       const struct expected *expected) {
    char is[TENSOR_DIMS_MAX * 22], should[EXPECT_DIMS_MAX * 22];

    format_shape(is, sizeof(is), tensor->n_dims, tensor->shape);
    format_shape(should, sizeof(should), expected->n_dims, expected->shape);
    return failure_set(e->failure, -EBADMSG, "model_invalid", FIT_HINT,
                       "model '%s': tensor '%s' has shape [%s], not [%s]", e->dir, tensor->name, is,
                       should);
}

int expect_tensor(const struct expecting *e, const char *name, const struct expected *expected) {
    const struct tensor *tensor = tensor_find(&e->tensors, name);

    if (!tensor)
        return missing(e, name);
    if (!(expected->dtypes >> tensor->dtype & 1))
        return wrong_dtype(e, tensor, expected);
    if (tensor->n_dims != expected->n_dims)
        return wrong_shape(e, tensor, expected);
    for (int i = 0; i < expected->n_dims; i++) {
        if (tensor->shape[i] != expected->shape[i])
            return wrong_shape(e, tensor, expected);
    }
    return 0;
}

bool expect_fits(const struct tensor *t, const struct expected *expected) {
    if (!t || !(expected->dtypes >> t->dtype & 1) || t->n_dims != expected->n_dims)
        return false;
    for (int i = 0; i < t->n_dims; i++) {
        if (t->shape[i] != expected->shape[i])
            return false;
    }
    return true;
}
