// SPDX-License-Identifier: Apache-2.0
/*
 * The neutral layout, in which quantd itself keeps codes that no format of the job's choice holds:
 *   NAME.codes i32 [n * wbits / 32, rows], NAME.scales f16 [n_groups, rows],
 *   NAME.zeros u8 [n_groups, rows], NAME.g_idx i32 [n]
 * as struct quantized_matrix has them; rows are out-features, n in-features.
 */
#pragma once

#include "daemon/model/readers/reader.h"

#define NEUTRAL_METHOD "quantd_neutral" /* quant_method of its quantization_config */

extern const struct reader_ops reader_neutral;
