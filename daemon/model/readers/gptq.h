// SPDX-License-Identifier: Apache-2.0
/*
 * The gptq layout, v1 and v2, as AutoGPTQ, GPTQModel and quantd write it:
 *   NAME.qweight i32 [n * wbits / 32, rows], NAME.qzeros i32 [n_groups, rows * wbits / 32],
 *   NAME.scales float [n_groups, rows], NAME.g_idx i32 [n]
 * with rows the out-features and n the in-features. Zeros are stored minus one unless the
 * checkpoint is v2; without g_idx column c is in group c / groupsize.
 */
#pragma once

#include "daemon/model/readers/reader.h"

extern const struct reader_ops reader_gptq;
