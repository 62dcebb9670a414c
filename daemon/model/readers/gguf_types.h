// SPDX-License-Identifier: Apache-2.0
/*
 * The types of tensors in a GGUF file and what their blocks say (ggml-common.h and
 * dequantize_row_*() in ggml-quants.c of llama.cpp). Pure functions; any thread.
 */
#pragma once

#include "base/dtype.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gguf_type {
    const char *name; /* "Q4_0" */
    uint32_t number;  /* enum ggml_type */
    int block;        /* elements of a block, which are neighbours in a row; 0: it is not read */
    int bytes;        /* of a block */
    enum dtype dtype; /* of plain numbers: those without unpack() */
    /* One block as [block] weights. */
    void (*unpack)(const unsigned char *from, float *to);
};

extern const struct gguf_type gguf_types[];
extern const int n_gguf_types;

/* gguf_type_find() - the one of a number; NULL: there is none. */
const struct gguf_type *gguf_type_find(uint32_t number);

#define GGUF_Q8_0 8 /* its number */
#define GGUF_Q8_0_BLOCK 32
#define GGUF_Q8_0_BYTES 34

/* gguf_pack_q8_0() - a block of 32 finite weights in Q8_0, rounded as ggml rounds them
 * (quantize_row_q8_0_ref). */
void gguf_pack_q8_0(const float *from, unsigned char *to);

/*
 * gguf_unpack() - @n weights, whole blocks of @type, which has unpack(), to @to.
 * Return: are all of them finite?
 */
bool gguf_unpack(const struct gguf_type *type, const unsigned char *from, size_t n, float *to);
