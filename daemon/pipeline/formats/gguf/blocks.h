// SPDX-License-Identifier: Apache-2.0
/*
 * The types of tensors in a GGUF file, and the blocks that quantized ones consist of (ggml-common.h
 * and ggml-quants.c of llama.cpp). A block has one scale in f16, and those of a K type also
 * a minimum; all of our codes on such a grid fit without loss. Pure functions; any thread.
 */
#pragma once

#include "daemon/model/readers/reader.h"

/*
 * The grid of a block: a code stands for d * (code - zero), of a K type for
 * d * scales[i] * (code - zero) - dmin * mins[i], i being its sub-block.
 */
struct ggml_grid {
    uint16_t d, dmin; /* f16 */
    int zero;
    int8_t scales[16];
    uint8_t mins[16];
};

struct ggml_type {
    const char *name;   /* "Q4_0" */
    uint32_t number;    /* enum ggml_type */
    uint32_t file_type; /* general.file_type of a model that is mostly of this type */
    int block;          /* elements of a block: consecutive columns of a row */
    int bytes;          /* of a block */

    /* Of a type that is packed: the least and the largest code - zero, and the largest code that a
     * block holds. */
    int least, most, code_max;
    /* The codes [block] to @to, which is zeroed. */
    void (*pack)(unsigned char *to, const struct ggml_grid *grid, const uint8_t *codes);
    /* Of a K type: the elements of a sub-block, the bits of its scale; is there no minimum? */
    int sub, sub_bits;
    bool sym;
};

extern const struct ggml_type ggml_f32;
extern const struct ggml_type ggml_bf16;

/*
 * ggml_type_for() - the smallest type that holds @wbits on grids of @columns neighbouring columns
 * without loss; NULL: none does.
 */
const struct ggml_type *ggml_type_for(int wbits, bool sym, int columns);

/* ggml_k_type_for() - the K type that has such grids; NULL: none does. */
const struct ggml_type *ggml_k_type_for(int wbits, bool sym, int groupsize, int sub_bits);

/* ggml_row_bytes() - bytes of @n elements of @type, which are whole blocks. */
static inline size_t ggml_row_bytes(const struct ggml_type *type, size_t n) {
    return n / type->block * type->bytes;
}

/*
 * ggml_pack() - all rows of @matrix, whose columns are whole blocks, to @to, which has
 * rows * ggml_row_bytes() bytes and is zeroed.
 * Return: 0; -ERANGE: the type does not hold a code, or a block has more grids than it; -ENOMEM.
 */
int ggml_pack(const struct ggml_type *type, const struct quantized_matrix *matrix,
              unsigned char *to);
