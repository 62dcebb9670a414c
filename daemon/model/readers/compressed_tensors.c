// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/readers/compressed_tensors.h"

#include "base/cleanup.h"
#include "base/macros.h"
#include "daemon/model/readers/compressed_tensors_config.h"
#include "daemon/model/readers/packing.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define NAME_SIZE 256 /* longer than every name of a matrix with its suffix */

enum part { PACKED, SCALE, SHAPE, ZERO_POINT, G_IDX, N_PARTS };

static const char *const suffixes[N_PARTS] = {"weight_packed", "weight_scale", "weight_shape",
                                              "weight_zero_point", "weight_g_idx"};

static const struct tensor *find(const struct tensor_finder *tensors, const char *name,
                                 enum part part) {
    char full[NAME_SIZE];

    snprintf(full, sizeof(full), "%s.%s", name, suffixes[part]);
    return tensor_find(tensors, full);
}

/* Must it be there? A symmetric grid's zeros are known, and an order that is none is not written.
 */
static bool is_needed(const struct quantization_config *q, enum part part) {
    return part == ZERO_POINT ? !q->sym : part == G_IDX ? q->desc_act : true;
}

static void expect(const struct quantization_config *q, int rows, int n,
                   struct expected parts[N_PARTS]) {
    uint64_t groups = q->groupsize < 0 ? 1 : n / q->groupsize;
    uint64_t zero_words = ((uint64_t)rows * q->wbits + 31) / 32;

    parts[PACKED] = (struct expected){EXPECT_INT32, 2, {rows, (uint64_t)n * q->wbits / 32}};
    parts[SCALE] = (struct expected){EXPECT_FLOATS, 2, {rows, groups}};
    parts[SHAPE] = (struct expected){1u << DTYPE_I64 | 1u << DTYPE_I32, 1, {2}};
    parts[ZERO_POINT] = (struct expected){EXPECT_INT32, 2, {zero_words, groups}};
    parts[G_IDX] = (struct expected){EXPECT_INT32, 1, {n}};
}

static bool has_matrix(const struct tensor_finder *tensors, const char *name) {
    return find(tensors, name, PACKED) != NULL;
}

static int check_matrix(const struct expecting *expecting, const struct quantization_config *q,
                        const char *name, int rows, int n) {
    struct expected parts[N_PARTS];
    char full[NAME_SIZE];
    int r = 0;

    expect(q, rows, n, parts);
    for (int i = 0; i < N_PARTS && !r; i++) {
        if (!is_needed(q, i))
            continue;
        snprintf(full, sizeof(full), "%s.%s", name, suffixes[i]);
        r = expect_tensor(expecting, full, &parts[i]);
    }
    return r;
}

/* There is nothing that a label could be wrong about: symmetric grids have no zeros here. */
static int say_zeros(const struct tensor_finder *tensors, const struct quantization_config *q,
                     const char *name, int rows, int n, enum zeros_say *ret_says) {
    (void)tensors, (void)q, (void)name, (void)rows, (void)n;
    *ret_says = ZEROS_AS_LABELLED;
    return 0;
}

/* ---- one matrix ---- */

/* Does weight_shape say [rows, n]? */
static bool says_shape(const struct tensor *t, int rows, int n) {
    int64_t wide[2];
    int32_t narrow[2];

    if (t->dtype == DTYPE_I64) {
        memcpy(wide, t->data, sizeof(wide));
        return wide[0] == rows && wide[1] == n;
    }
    memcpy(narrow, t->data, sizeof(narrow));
    return narrow[0] == rows && narrow[1] == n;
}

/* [rows, words of a row] to [words of a row, rows]. */
static int read_codes(const struct tensor *t, struct quantized_matrix *m) {
    m->memory = malloc(t->size);
    if (!m->memory)
        return -ENOMEM;
    words_transpose(m->memory, t->data, m->rows, m->n * m->wbits / 32);
    return 0;
}

static int read_scales(const struct tensor *t, struct quantized_matrix *m) {
    size_t n = (size_t)m->n_groups * m->rows;
    cleanup(freep) uint16_t *by_row = malloc(n * sizeof(*by_row));

    m->scales = malloc(n * sizeof(*m->scales));
    if (!by_row || !m->scales)
        return -ENOMEM;
    if (scales_read(by_row, t))
        return -EBADMSG;
    for (int r = 0; r < m->rows; r++) {
        for (int g = 0; g < m->n_groups; g++)
            m->scales[(size_t)g * m->rows + r] = by_row[(size_t)r * m->n_groups + g];
    }
    return 0;
}

/* @t NULL: grids are symmetric. */
static int read_zeros(const struct tensor *t, struct quantized_matrix *m) {
    size_t n = (size_t)m->n_groups * m->rows;
    cleanup(freep) uint32_t *words = NULL;

    m->zeros = malloc(n);
    if (!m->zeros)
        return -ENOMEM;
    if (!t) {
        memset(m->zeros, 1 << (m->wbits - 1), n);
        return 0;
    }
    words = malloc(t->size);
    if (!words)
        return -ENOMEM;
    words_transpose(words, t->data, (int)t->shape[0], m->n_groups);
    qzeros_unpack(m->zeros, words, m->n_groups, m->rows, m->wbits, true);
    return 0;
}

/* @t NULL: column c is in group c / groupsize. */
static int read_order(const struct tensor *t, int groupsize, struct quantized_matrix *m) {
    m->g_idx = malloc(m->n * sizeof(*m->g_idx));
    return m->g_idx ? g_idx_read(m->g_idx, t, m->n, groupsize, m->n_groups) : -ENOMEM;
}

static int refuse(const char *name, struct failure *failure) {
    return failure_set(failure, -EBADMSG, "model_invalid",
                       "the checkpoint does not fit its quantization_config, or is damaged: fetch "
                       "or export it again",
                       "the quantized matrix '%s' lacks a tensor, or one has another shape, type "
                       "or content than its quantization_config needs",
                       name);
}

static int read_matrix(const struct tensor_finder *tensors, const struct quantization_config *q,
                       const char *name, int rows, int n, struct quantized_matrix *ret_matrix,
                       struct failure *failure) {
    int groupsize = q->groupsize > 0 ? q->groupsize : n, r;
    struct quantized_matrix m = {
        .wbits = q->wbits, .rows = rows, .n = n, .n_groups = n / groupsize};
    const struct tensor *parts[N_PARTS] = {};
    struct expected expected[N_PARTS];

    if (n % 32 || n % groupsize)
        return refuse(name, failure);
    expect(q, rows, n, expected);
    for (int i = 0; i < N_PARTS; i++) {
        if (is_needed(q, i))
            parts[i] = find(tensors, name, i);
        if (is_needed(q, i) && !expect_fits(parts[i], &expected[i]))
            return refuse(name, failure);
    }
    r = says_shape(parts[SHAPE], rows, n) ? read_codes(parts[PACKED], &m) : -EBADMSG;
    if (!r)
        r = read_scales(parts[SCALE], &m);
    if (!r)
        r = read_zeros(parts[ZERO_POINT], &m);
    if (!r)
        r = read_order(parts[G_IDX], groupsize, &m);
    if (r) {
        quantized_matrix_done(&m);
        return r == -ENOMEM ? failure_oom(failure) : refuse(name, failure);
    }
    m.words = m.memory;
    *ret_matrix = m;
    return 0;
}

const struct reader_ops reader_compressed_tensors = {
    .name = COMPRESSED_TENSORS_METHOD,
    .recognizes = compressed_tensors_recognizes,
    .parse = compressed_tensors_parse,
    .has = has_matrix,
    .check = check_matrix,
    .zeros = say_zeros,
    .read = read_matrix,
};
