// SPDX-License-Identifier: Apache-2.0
/*
 * The layout pack-quantized of the library compressed-tensors:
 *   NAME.weight_packed i32 [rows, n * wbits / 32], NAME.weight_scale float [rows, n_groups],
 *   NAME.weight_shape i64 [2] = rows, n,
 *   NAME.weight_zero_point i32 [rows * wbits / 32, n_groups], unless grids are symmetric,
 *   NAME.weight_g_idx i32 [n], which only versions of the library before 0.20 write
 * with rows the out-features and n the in-features. Codes stand along a row and zeros along a
 * column, from the lowest bit up, and cross words. Codes and zeros are stored plus 2^(wbits-1), by
 * which the library's, which have a sign, become ours.
 */
#pragma once

#include "daemon/model/readers/reader.h"

extern const struct reader_ops reader_compressed_tensors;
