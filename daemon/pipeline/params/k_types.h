// SPDX-License-Identifier: Apache-2.0
/*
 * The K types of ggml as targets of quantization: the values of the parameter gguf_type, one row
 * each. Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* A grid as struct scheme has it. */
struct k_type_grid {
    int wbits, groupsize;
    bool sym;
    int sub_bits;
};

struct k_type {
    const char *name;
    const char *title;
    struct k_type_grid grid;
    struct k_type_grid narrow; /* of a matrix whose columns are no whole super-blocks: that of the
                                  type which llama-quantize takes there */
};

extern const struct k_type k_types[];
extern const size_t n_k_types;
