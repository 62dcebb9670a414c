// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/readers/packing.h"

#include "base/macros.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define TILE 16 /* words: a cache line */

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
    size_t words = ((size_t)rows * wbits + 31) / 32;
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
    size_t words = ((size_t)rows * wbits + 31) / 32;
    uint32_t mask = (1u << wbits) - 1;

    for (int group = 0; group < n_groups; group++) {
        for (int i = 0; i < rows; i++)
            zeros[(size_t)group * rows + i] =
                (packed_get(packed + group * words, i, wbits) + (v2 ? 0u : 1u)) & mask;
    }
}

static void transpose_tile(uint32_t *dst, const unsigned char *src, int rows, int columns, int row,
                           int column) {
    int last_row = MIN(row + TILE, rows), last_column = MIN(column + TILE, columns);

    for (int c = column; c < last_column; c++) {
        for (int r = row; r < last_row; r++)
            memcpy(&dst[(size_t)c * rows + r], src + ((size_t)r * columns + c) * sizeof(*dst),
                   sizeof(*dst));
    }
}

void words_transpose(uint32_t *dst, const void *src, int rows, int columns) {
    for (int row = 0; row < rows; row += TILE) {
        for (int column = 0; column < columns; column += TILE)
            transpose_tile(dst, src, rows, columns, row, column);
    }
}

int scales_read(uint16_t *scales, const struct tensor *t) {
    uint32_t found = 0;

    if (t->dtype == DTYPE_F16) {
        memcpy(scales, t->data, t->n * sizeof(*scales));
        for (size_t i = 0; i < t->n; i++)
            found |= (scales[i] & 0x7c00) == 0x7c00; /* the exponent of Inf and NaN */
        return found ? -EBADMSG : 0;
    }
    for (size_t i = 0; i < t->n; i++) {
        float scale;

        if (dtype_to_f32(&scale, (const char *)t->data + i * dtype_size(t->dtype), t->dtype, 1) ||
            !isfinite(f16_to_f32(f32_to_f16(scale))))
            return -EBADMSG;
        scales[i] = f32_to_f16(scale);
    }
    return 0;
}

int g_idx_read(int32_t *g_idx, const struct tensor *t, int n, int groupsize, int n_groups) {
    if (t)
        memcpy(g_idx, t->data, n * sizeof(*g_idx));
    for (int i = 0; i < n; i++) {
        if (!t)
            g_idx[i] = i / groupsize;
        if (g_idx[i] < 0 || g_idx[i] >= n_groups)
            return -EBADMSG;
    }
    return 0;
}
