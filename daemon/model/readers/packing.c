// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/readers/packing.h"

#include <string.h>

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
