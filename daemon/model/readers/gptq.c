// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/readers/gptq.h"

#include "base/macros.h"
#include "daemon/model/readers/gptq_config.h"
#include "daemon/model/readers/packing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_SIZE 256 /* longer than every name of a matrix with its suffix */

static const struct tensor *find(const struct tensor_finder *tensors, const char *name,
                                 const char *suffix) {
    char full[NAME_SIZE];

    snprintf(full, sizeof(full), "%s.%s", name, suffix);
    return tensor_find(tensors, full);
}

static bool gptq_has(const struct tensor_finder *tensors, const char *name) {
    return find(tensors, name, "qweight") != NULL;
}

/* Values along n share words, zeros along the rows do. */
static int gptq_check(const struct expecting *expecting, const struct quantization_config *q,
                      const char *name, int rows, int n) {
    uint64_t groups = q->groupsize < 0 ? 1 : n / q->groupsize;
    const struct {
        const char *suffix;
        struct expected expected;
    } parts[] = {
        {"qweight", {EXPECT_INT32, 2, {(uint64_t)n * q->wbits / 32, rows}}},
        {"qzeros", {EXPECT_INT32, 2, {groups, ((uint64_t)rows * q->wbits + 31) / 32}}},
        {"scales", {EXPECT_FLOATS, 2, {groups, rows}}},
        {"g_idx", {EXPECT_INT32, 1, {n}}},
    };
    char part[NAME_SIZE];
    int r = 0;

    for (size_t i = 0; i < ARRAY_SIZE(parts) && !r; i++) {
        bool is_optional = i == 3 && !q->desc_act;

        snprintf(part, sizeof(part), "%s.%s", name, parts[i].suffix);
        if (!is_optional || tensor_find(&expecting->tensors, part))
            r = expect_tensor(expecting, part, &parts[i].expected);
    }
    return r;
}

static bool has_shape(const struct tensor *t, uint64_t first, uint64_t second) {
    if (second == 0)
        return t->n_dims == 1 && t->shape[0] == first;
    return t->n_dims == 2 && t->shape[0] == first && t->shape[1] == second;
}

static int read_zeros(const struct tensor *t, const struct quantization_config *q,
                      struct quantized_matrix *m) {
    uint32_t *words = malloc(t->size); /* the tensor may not be aligned */

    if (!words)
        return -ENOMEM;
    memcpy(words, t->data, t->size);
    qzeros_unpack(m->zeros, words, m->n_groups, m->rows, q->wbits, q->v2);
    free(words);
    return 0;
}

static int read_arrays(const struct tensor *zeros, const struct tensor *scales,
                       const struct tensor *g_idx, const struct quantization_config *q,
                       int groupsize, struct quantized_matrix *m) {
    size_t n = (size_t)m->n_groups * m->rows;
    int r;

    m->scales = malloc(n * sizeof(*m->scales));
    m->zeros = malloc(n);
    m->g_idx = malloc(m->n * sizeof(*m->g_idx));
    if (!m->scales || !m->zeros || !m->g_idx)
        return -ENOMEM;
    r = read_zeros(zeros, q, m);
    if (!r)
        r = scales_read(m->scales, scales);
    if (!r)
        r = g_idx_read(m->g_idx, g_idx, m->n, groupsize, m->n_groups);
    return r;
}

static int gptq_zeros(const struct tensor_finder *tensors, const struct quantization_config *q,
                      const char *name, int rows, int n, enum zeros_say *ret_says) {
    const struct tensor *qzeros = find(tensors, name, "qzeros");
    struct quantized_matrix m = {.rows = rows, .n_groups = q->groupsize > 0 ? n / q->groupsize : 1};
    size_t n_zeros = (size_t)m.n_groups * rows;
    unsigned int middle = 1u << (q->wbits - 1), other = q->v2 ? middle - 1 : middle + 1;
    bool fits = true, fits_other = true;
    int r;

    if (rows % 32) {
        *ret_says = ZEROS_AS_LABELLED; /* read() refuses it */
        return 0;
    }
    m.zeros = malloc(n_zeros);
    r = m.zeros ? read_zeros(qzeros, q, &m) : -ENOMEM;
    for (size_t i = 0; i < n_zeros && !r; i++) {
        fits &= m.zeros[i] == middle;
        fits_other &= m.zeros[i] == other;
    }
    quantized_matrix_done(&m);
    if (!r)
        *ret_says = fits ? ZEROS_AS_LABELLED : fits_other ? ZEROS_OF_OTHER : ZEROS_OF_NONE;
    return r;
}

static int gptq_read(const struct tensor_finder *tensors, const struct quantization_config *q,
                     const char *name, int rows, int n, struct quantized_matrix *ret_matrix,
                     struct failure *failure) {
    const struct tensor *qweight = find(tensors, name, "qweight");
    const struct tensor *qzeros = find(tensors, name, "qzeros");
    const struct tensor *scales = find(tensors, name, "scales");
    const struct tensor *g_idx = find(tensors, name, "g_idx");
    int groupsize = q->groupsize > 0 ? q->groupsize : n, n_groups = n / groupsize, r;
    struct quantized_matrix m = {.wbits = q->wbits, .rows = rows, .n = n, .n_groups = n_groups};

    if (n % 32 || rows % 32 || n % groupsize || !qweight || !qzeros || !scales ||
        qweight->dtype != DTYPE_I32 || qzeros->dtype != DTYPE_I32 ||
        !has_shape(qweight, (uint64_t)n * q->wbits / 32, rows) ||
        !has_shape(qzeros, n_groups, (uint64_t)rows * q->wbits / 32) ||
        !has_shape(scales, n_groups, rows) ||
        (g_idx && (g_idx->dtype != DTYPE_I32 || !has_shape(g_idx, n, 0))))
        return failure_set(failure, -EBADMSG, "model_invalid",
                           "the checkpoint does not fit its quantization_config",
                           "the quantized matrix '%s' lacks a tensor, or one has another shape "
                           "or type than %d bits with groups of %d need",
                           name, q->wbits, groupsize);

    r = read_arrays(qzeros, scales, g_idx, q, groupsize, &m);
    if (r) {
        quantized_matrix_done(&m);
        if (r == -ENOMEM)
            return failure_oom(failure);
        return failure_set(failure, r, "model_invalid",
                           "the checkpoint is damaged: fetch or export it again",
                           "the quantized matrix '%s' has a scale that is not finite or a group "
                           "index out of range",
                           name);
    }
    m.words = qweight->data;
    *ret_matrix = m;
    return 0;
}

const struct reader_ops reader_gptq = {
    .name = "gptq",
    .recognizes = gptq_recognizes,
    .parse = gptq_parse,
    .has = gptq_has,
    .check = gptq_check,
    .zeros = gptq_zeros,
    .read = gptq_read,
};
