// SPDX-License-Identifier: Apache-2.0
/* Zeros of a matrix as the gptq layout packs them, on the host; codes are packed on the device. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * qzeros_pack() - @zeros [n_groups, rows], each less than 2^wbits, to @packed
 * [n_groups, rows * wbits / 32]; rows is a multiple of 32. @v2: as they are, else minus one.
 */
void qzeros_pack(uint32_t *packed, const uint8_t *zeros, int n_groups, int rows, int wbits,
                 bool v2);
/* qzeros_unpack() - the inverse. */
void qzeros_unpack(uint8_t *zeros, const uint32_t *packed, int n_groups, int rows, int wbits,
                   bool v2);
