// SPDX-License-Identifier: Apache-2.0
/* The quantization_config of the gptq layout, two members of reader_gptq; and that of our own,
 * which has the same keys. */
#pragma once

#include "daemon/model/readers/reader.h"

#define NEUTRAL_METHOD "quantd_neutral" /* quant_method of our own */
#define NEUTRAL_SUB_BITS "sub_bits"     /* there alone: struct quantization_config.sub_bits */

bool gptq_recognizes(const struct quantization_source *source);
int gptq_parse(const struct quantization_source *source, struct quantization_config *ret_config);
