// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/readers/neutral.h"

#include "base/macros.h"
#include "base/str.h"
#include "kernels/backend.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_SIZE 256 /* longer than every name of a matrix with its suffix */

enum part { CODES, SCALES, ZEROS, G_IDX, D, DMIN, N_PARTS };

static const char *const suffixes[N_PARTS] = {"codes", "scales", "zeros", "g_idx", "d", "dmin"};

static const struct tensor *find(const struct tensor_finder *tensors, const char *name,
                                 enum part part) {
    char full[NAME_SIZE];

    snprintf(full, sizeof(full), "%s.%s", name, suffixes[part]);
    return tensor_find(tensors, full);
}

static bool neutral_recognizes(const struct quantization_source *source) {
    return str_equal(json_string_value(json_object_get(source->value, "quant_method")),
                     NEUTRAL_METHOD);
}

static bool neutral_has(const struct tensor_finder *tensors, const char *name) {
    return find(tensors, name, CODES) != NULL;
}

/* Those of a matrix as @q says: the first of enum part. */
static int n_parts(const struct quantization_config *q) {
    return !q->sub_bits ? D : q->sym ? DMIN : N_PARTS;
}

static void expect(const struct quantization_config *q, int rows, int n,
                   struct expected parts[N_PARTS]) {
    uint64_t groups = q->groupsize < 0 ? 1 : n / q->groupsize;

    parts[CODES] = (struct expected){EXPECT_INT32, 2, {(uint64_t)n * q->wbits / 32, rows}};
    parts[SCALES] = (struct expected){1u << DTYPE_F16, 2, {groups, rows}};
    parts[ZEROS] = (struct expected){1u << DTYPE_U8, 2, {groups, rows}};
    parts[G_IDX] = (struct expected){EXPECT_INT32, 1, {n}};
    parts[D] = (struct expected){1u << DTYPE_F16, 2, {n / GRID_SUPER, rows}};
    parts[DMIN] = parts[D];
}

static int damaged(const char *name, struct failure *failure) {
    return failure_set(failure, -EBADMSG, "model_invalid", "quantize the model again",
                       "the codes of the matrix '%s' are damaged", name);
}

/* Words of codes and groups are whole; groups of a K grid are parts of super-blocks. */
static bool has_whole_groups(const struct quantization_config *q, int n) {
    int groupsize = q->groupsize > 0 ? q->groupsize : n;

    return n % 32 == 0 && n % groupsize == 0 &&
           (!q->sub_bits || (n % GRID_SUPER == 0 && GRID_SUPER % groupsize == 0));
}

static int neutral_check(const struct expecting *expecting, const struct quantization_config *q,
                         const char *name, int rows, int n) {
    struct expected parts[N_PARTS];
    char full[NAME_SIZE];
    int r = 0;

    if (!has_whole_groups(q, n))
        return damaged(name, expecting->failure);
    expect(q, rows, n, parts);
    for (int i = 0; i < n_parts(q) && !r; i++) {
        snprintf(full, sizeof(full), "%s.%s", name, suffixes[i]);
        r = expect_tensor(expecting, full, &parts[i]);
    }
    return r;
}

/* The first @size bytes of @t, owned by the caller; NULL when there is none, or no memory. */
static void *copy(const struct tensor *t, size_t size) {
    void *copy = t ? malloc(size) : NULL;

    return copy ? memcpy(copy, t->data, size) : NULL;
}

static int copy_arrays(const struct tensor *const parts[N_PARTS], struct quantized_matrix *m) {
    size_t n = (size_t)m->n_groups * m->rows;
    size_t units = (size_t)(m->n / GRID_SUPER) * m->rows * sizeof(*m->d);

    m->scales = copy(parts[SCALES], n * sizeof(*m->scales));
    m->zeros = copy(parts[ZEROS], n);
    m->g_idx = copy(parts[G_IDX], m->n * sizeof(*m->g_idx));
    m->d = copy(parts[D], units);
    m->dmin = copy(parts[DMIN], units);
    return !m->scales || !m->zeros || !m->g_idx || (parts[D] && !m->d) || (parts[DMIN] && !m->dmin)
               ? -ENOMEM
               : 0;
}

static bool is_finite(uint16_t f16) {
    return (f16 & 0x7c00) != 0x7c00;
}

/* Scales are finite and, of a K grid, whole numbers of so many bits; zeros are codes or such
 * numbers; every column is in a group, of a K grid in its own. */
static bool is_sound(const struct quantized_matrix *m, const struct quantization_config *q) {
    size_t n = (size_t)m->n_groups * m->rows, n_units = (size_t)(m->n / GRID_SUPER) * m->rows;
    int zero_bits = m->dmin ? q->sub_bits : m->wbits, groupsize = m->n / m->n_groups;
    float least = m->dmin ? 0 : -(float)(1 << q->sub_bits) / 2;
    bool wrong = false;

    for (size_t i = 0; i < n; i++)
        wrong |= !is_finite(m->scales[i]) || m->zeros[i] >> zero_bits;
    for (size_t i = 0; i < n && m->d; i++) {
        float count = f16_to_f32(m->scales[i]);

        wrong |= count != rintf(count) || count < least ||
                 count > least + (float)((1 << q->sub_bits) - 1);
    }
    for (size_t i = 0; i < n_units && m->d; i++)
        wrong |= !is_finite(m->d[i]) || (m->dmin && !is_finite(m->dmin[i]));
    for (int i = 0; i < m->n && m->d; i++)
        wrong |= m->g_idx[i] != i / groupsize;
    for (int i = 0; i < m->n; i++)
        wrong |= m->g_idx[i] < 0 || m->g_idx[i] >= m->n_groups;
    return !wrong;
}

/* Zeros stand as they are: there is no other label. */
static int neutral_zeros(const struct tensor_finder *tensors, const struct quantization_config *q,
                         const char *name, int rows, int n, enum zeros_say *ret_says) {
    const struct tensor *zeros = find(tensors, name, ZEROS);
    const unsigned char *data = zeros->data;
    bool fits_label = true;

    if (q->sub_bits && !q->sym) {
        *ret_says = ZEROS_OF_NONE; /* they are minima */
        return 0;
    }
    (void)rows;
    (void)n;
    for (size_t i = 0; i < zeros->size; i++)
        fits_label &= data[i] == 1u << (q->wbits - 1);
    *ret_says = fits_label ? ZEROS_AS_LABELLED : ZEROS_OF_NONE;
    return 0;
}

static int neutral_read(const struct tensor_finder *tensors, const struct quantization_config *q,
                        const char *name, int rows, int n, struct quantized_matrix *ret_matrix,
                        struct failure *failure) {
    int groupsize = q->groupsize > 0 ? q->groupsize : n;
    struct quantized_matrix m = {
        .wbits = q->wbits, .rows = rows, .n = n, .n_groups = n / groupsize};
    const struct tensor *parts[N_PARTS] = {};
    struct expected expected[N_PARTS];
    int r;

    if (!has_whole_groups(q, n))
        return damaged(name, failure);
    expect(q, rows, n, expected);
    for (int i = 0; i < n_parts(q); i++) {
        parts[i] = find(tensors, name, i);
        if (!expect_fits(parts[i], &expected[i]))
            return damaged(name, failure);
    }
    r = copy_arrays(parts, &m);
    if (!r && !is_sound(&m, q))
        r = damaged(name, failure);
    if (r) {
        quantized_matrix_done(&m);
        return r == -ENOMEM ? failure_oom(failure) : r;
    }
    m.words = parts[CODES]->data;
    *ret_matrix = m;
    return 0;
}

const struct reader_ops reader_neutral = {
    .name = NEUTRAL_METHOD,
    .recognizes = neutral_recognizes,
    .parse = gptq_parse, /* its keys are the same, and NEUTRAL_SUB_BITS */
    .has = neutral_has,
    .check = neutral_check,
    .zeros = neutral_zeros,
    .read = neutral_read,
};
