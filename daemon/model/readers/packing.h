// SPDX-License-Identifier: Apache-2.0
/*
 * What the layouts of quantized matrices have in common, on the host: packed zeros, words, scales.
 * Codes are packed on the device. Any thread.
 */
#pragma once

#include "daemon/model/safetensors/tensor.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * qzeros_pack() - @zeros [n_groups, rows], each less than 2^wbits, to @packed
 * [n_groups, rows * wbits / 32, rounded up]. @v2: as they are, else minus one.
 */
void qzeros_pack(uint32_t *packed, const uint8_t *zeros, int n_groups, int rows, int wbits,
                 bool v2);
/* qzeros_unpack() - the inverse. */
void qzeros_unpack(uint8_t *zeros, const uint32_t *packed, int n_groups, int rows, int wbits,
                   bool v2);

/*
 * g_idx_read() - the group of each of @n columns, from @t, i32 [n], or NULL: column c is in group
 * c / groupsize. Return: 0; -EBADMSG for one that is not in [0, n_groups).
 */
int g_idx_read(int32_t *g_idx, const struct tensor *t, int n, int groupsize, int n_groups);

/*
 * words_transpose() - @src, u32 [rows, columns] at any alignment, to @dst [columns, rows]; they do
 * not overlap.
 */
void words_transpose(uint32_t *dst, const void *src, int rows, int columns);

/*
 * scales_read() - the floats of @t as f16 to @scales [t->n]. Return: 0; -EBADMSG for one that is
 * not finite in f16, or for a type that is no float.
 */
int scales_read(uint16_t *scales, const struct tensor *t);
