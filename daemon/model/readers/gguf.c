// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/readers/gguf.h"

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/macros.h"
#include "base/memory/memory.h"
#include "base/task.h"
#include "daemon/model/readers/gguf_types.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define ROWS_AT_ONCE 64
#define NAME_SIZE 256 /* longer than every name of a matrix with its type */

/* The blocks of the matrix @name, in *ret_type; NULL: it has none. */
static const struct tensor *find(const struct tensor_finder *tensors, const char *name,
                                 const struct gguf_type **ret_type) {
    for (int i = 0; i < n_gguf_types; i++) {
        const struct gguf_type *type = &gguf_types[i];
        char full[NAME_SIZE];
        const struct tensor *t;

        if (!type->unpack)
            continue;
        snprintf(full, sizeof(full), "%s.%s", name, type->name);
        t = tensor_find(tensors, full);
        if (t) {
            *ret_type = type;
            return t;
        }
    }
    return NULL;
}

/* The quantization of a GGUF file is said by its tensors, not by a quantization_config. */
static bool recognizes(const struct quantization_source *source) {
    (void)source;
    return false;
}

static int parse(const struct quantization_source *source, struct quantization_config *ret_config) {
    (void)source;
    *ret_config = (struct quantization_config){
        .present = true, .reader = &reader_gguf, .wbits = 8, .groupsize = -1};
    return 0;
}

static bool has_matrix(const struct tensor_finder *tensors, const char *name) {
    const struct gguf_type *type;

    return find(tensors, name, &type) != NULL;
}

static bool expect(const struct gguf_type *type, int rows, int n, struct expected *ret_expected) {
    *ret_expected =
        (struct expected){1u << DTYPE_U8, 2, {rows, (uint64_t)n / type->block * type->bytes}};
    return n % type->block == 0;
}

static int refuse(const char *name, const char *what, struct failure *failure) {
    return failure_set(failure, -EBADMSG, "model_invalid",
                       "the file is damaged: fetch it or make it again", "the matrix '%s' %s", name,
                       what);
}

static int check_matrix(const struct expecting *expecting, const struct quantization_config *q,
                        const char *name, int rows, int n) {
    struct expected expected = {1u << DTYPE_U8, 2, {rows, n}};
    const struct gguf_type *type;
    const struct tensor *t = find(&expecting->tensors, name, &type);

    (void)q;
    if (t && !expect(type, rows, n, &expected))
        return refuse(name, "has rows that are no whole blocks", expecting->failure);
    return expect_tensor(expecting, t ? t->name : name, &expected);
}

/* Blocks have no label that could be wrong. */
static int say_zeros(const struct tensor_finder *tensors, const struct quantization_config *q,
                     const char *name, int rows, int n, enum zeros_say *ret_says) {
    (void)tensors, (void)q, (void)name, (void)rows, (void)n;
    *ret_says = ZEROS_AS_LABELLED;
    return 0;
}

/* A matrix on its way from blocks, by rows. */
struct unpacking {
    const struct gguf_type *type;
    const unsigned char *from;
    size_t row_bytes;
    int rows, n;
    float *to; /* [rows, n] */
};

static int unpack_rows(void *ctx, int i) {
    const struct unpacking *u = ctx;
    size_t first = (size_t)i * ROWS_AT_ONCE, rows = MIN((size_t)ROWS_AT_ONCE, u->rows - first);

    return gguf_unpack(u->type, u->from + first * u->row_bytes, rows * u->n, u->to + first * u->n)
               ? 0
               : -ERANGE;
}

static int read_matrix(const struct tensor_finder *tensors, const struct quantization_config *q,
                       const char *name, int rows, int n, struct quantized_matrix *ret_matrix,
                       struct failure *failure) {
    const struct gguf_type *type;
    const struct tensor *t = find(tensors, name, &type);
    cleanup(freep) float *values = NULL;
    struct unpacking unpacking;
    struct expected expected;
    size_t size;

    (void)q;
    if (!t || !expect(type, rows, n, &expected) || !expect_fits(t, &expected))
        return refuse(name, "is missing or has another shape than the model", failure);
    if (checked_mul((size_t)rows * n, sizeof(*values), &size) || !(values = memory_room(size)))
        return failure_oom(failure);
    unpacking = (struct unpacking){type, t->data, (size_t)expected.shape[1], rows, n, values};
    if (tasks_share(unpack_rows, &unpacking, (rows + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE))
        return refuse(name, "has a weight that is not finite", failure);
    *ret_matrix = (struct quantized_matrix){.rows = rows, .n = n, .values = steal_ptr(values)};
    return 0;
}

const struct reader_ops reader_gguf = {
    .name = "gguf",
    .recognizes = recognizes,
    .parse = parse,
    .has = has_matrix,
    .check = check_matrix,
    .zeros = say_zeros,
    .read = read_matrix,
};
