// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/packing.h"

#include "base/dtype.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_SIZE 256 /* longer than every name of a matrix with its suffix */

/* Value @i of a row of packed words: a value starts at bit i * wbits and may cross a word. */
static uint32_t packed_get(const uint32_t *words, size_t i, int wbits) {
    size_t bit = i * wbits;
    uint64_t pair = words[bit / 32];

    if (bit % 32 + wbits > 32)
        pair |= (uint64_t)words[bit / 32 + 1] << 32;
    return (uint32_t)(pair >> bit % 32) & ((1u << wbits) - 1);
}

static void packed_put(uint32_t *words, size_t i, int wbits, uint32_t value) {
    size_t bit = i * wbits;

    words[bit / 32] |= value << bit % 32;
    if (bit % 32 + wbits > 32)
        words[bit / 32 + 1] |= value >> (32 - bit % 32);
}

void qzeros_pack(uint32_t *packed, const uint8_t *zeros, int n_groups, int rows, int wbits,
                 bool v2) {
    size_t words = (size_t)rows * wbits / 32;
    uint32_t mask = (1u << wbits) - 1;

    memset(packed, 0, n_groups * words * sizeof(*packed));
    for (int group = 0; group < n_groups; group++) {
        for (int i = 0; i < rows; i++)
            packed_put(packed + group * words, i, wbits,
                       (zeros[(size_t)group * rows + i] - (v2 ? 0u : 1u)) & mask);
    }
}

void qzeros_unpack(uint8_t *zeros, const uint32_t *packed, int n_groups, int rows, int wbits,
                   bool v2) {
    size_t words = (size_t)rows * wbits / 32;
    uint32_t mask = (1u << wbits) - 1;

    for (int group = 0; group < n_groups; group++) {
        for (int i = 0; i < rows; i++)
            zeros[(size_t)group * rows + i] =
                (packed_get(packed + group * words, i, wbits) + (v2 ? 0u : 1u)) & mask;
    }
}

static bool has_shape(const struct tensor *t, uint64_t first, uint64_t second) {
    if (second == 0)
        return t->n_dims == 1 && t->shape[0] == first;
    return t->n_dims == 2 && t->shape[0] == first && t->shape[1] == second;
}

static const struct tensor *find(const struct tensor_finder *tensors, const char *name,
                                 const char *suffix) {
    char full[NAME_SIZE];

    snprintf(full, sizeof(full), "%s.%s", name, suffix);
    return tensor_find(tensors, full);
}

static int read_scales(const struct tensor *t, struct grids *grids) {
    size_t n = (size_t)grids->n_groups * grids->rows;
    uint32_t found = 0;

    if (t->dtype == DTYPE_F16) {
        memcpy(grids->scales, t->data, n * sizeof(*grids->scales));
        for (size_t i = 0; i < n; i++)
            found |= (grids->scales[i] & 0x7c00) == 0x7c00; /* the exponent of Inf and NaN */
        return found ? -EBADMSG : 0;
    }
    for (size_t i = 0; i < n; i++) {
        float scale;

        if (dtype_to_f32(&scale, (const char *)t->data + i * dtype_size(t->dtype), t->dtype, 1) ||
            !isfinite(f16_to_f32(f32_to_f16(scale))))
            return -EBADMSG;
        grids->scales[i] = f32_to_f16(scale);
    }
    return 0;
}

static int read_g_idx(const struct tensor *t, int groupsize, struct grids *grids) {
    if (t)
        memcpy(grids->g_idx, t->data, grids->n * sizeof(*grids->g_idx));
    for (int i = 0; i < grids->n; i++) {
        if (!t)
            grids->g_idx[i] = i / groupsize;
        if (grids->g_idx[i] < 0 || grids->g_idx[i] >= grids->n_groups)
            return -EBADMSG;
    }
    return 0;
}

static int read_zeros(const struct tensor *t, const struct quantization_config *q,
                      struct grids *grids) {
    uint32_t *words = malloc(t->size); /* the tensor may not be aligned */

    if (!words)
        return -ENOMEM;
    memcpy(words, t->data, t->size);
    qzeros_unpack(grids->zeros, words, grids->n_groups, grids->rows, q->wbits, q->v2);
    free(words);
    return 0;
}

static int read_arrays(const struct tensor *zeros, const struct tensor *scales,
                       const struct tensor *g_idx, const struct quantization_config *q,
                       int groupsize, struct grids *grids) {
    size_t n = (size_t)grids->n_groups * grids->rows;
    int r;

    grids->scales = malloc(n * sizeof(*grids->scales));
    grids->zeros = malloc(n);
    grids->g_idx = malloc(grids->n * sizeof(*grids->g_idx));
    if (!grids->scales || !grids->zeros || !grids->g_idx)
        return -ENOMEM;
    r = read_zeros(zeros, q, grids);
    if (!r)
        r = read_scales(scales, grids);
    if (!r)
        r = read_g_idx(g_idx, groupsize, grids);
    return r;
}

int grids_read(const struct tensor_finder *tensors, const struct quantization_config *q,
               const char *name, int rows, int n, struct grids *ret_grids,
               const struct tensor **ret_qweight, struct failure *failure) {
    const struct tensor *qweight = find(tensors, name, "qweight");
    const struct tensor *qzeros = find(tensors, name, "qzeros");
    const struct tensor *scales = find(tensors, name, "scales");
    const struct tensor *g_idx = find(tensors, name, "g_idx");
    int groupsize = q->groupsize > 0 ? q->groupsize : n, n_groups = n / groupsize, r;
    struct grids grids = {.rows = rows, .n = n, .n_groups = n_groups};

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

    r = read_arrays(qzeros, scales, g_idx, q, groupsize, &grids);
    if (r) {
        grids_done(&grids);
        if (r == -ENOMEM)
            return failure_oom(failure);
        return failure_set(failure, r, "model_invalid",
                           "the checkpoint is damaged: fetch or export it again",
                           "the quantized matrix '%s' has a scale that is not finite or a group "
                           "index out of range",
                           name);
    }
    *ret_grids = grids;
    *ret_qweight = qweight;
    return 0;
}

void grids_done(struct grids *grids) {
    free(grids->scales);
    free(grids->zeros);
    free(grids->g_idx);
    *grids = (struct grids){};
}
