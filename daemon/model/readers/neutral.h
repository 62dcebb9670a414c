// SPDX-License-Identifier: Apache-2.0
/*
 * The neutral layout, in which quantd itself keeps codes that no format of the job's choice holds:
 *   NAME.codes i32 [n * wbits / 32, rows], NAME.scales f16 [n_groups, rows],
 *   NAME.zeros u8 [n_groups, rows], NAME.g_idx i32 [n]
 * and, on a K grid, NAME.d f16 [n / GRID_SUPER, rows] and, if it is asymmetric, NAME.dmin likewise;
 * as struct quantized_matrix has them; rows are out-features, n in-features.
 */
#pragma once

#include "daemon/model/readers/gptq_config.h"

extern const struct reader_ops reader_neutral;
