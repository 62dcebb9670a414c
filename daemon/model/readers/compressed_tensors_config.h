// SPDX-License-Identifier: Apache-2.0
/* The quantization_config of compressed-tensors. */
#pragma once

#include "daemon/model/readers/reader.h"

#define COMPRESSED_TENSORS_METHOD "compressed-tensors" /* quant_method */
#define COMPRESSED_TENSORS_PACKED "pack-quantized"     /* the layout, in "format" */

bool compressed_tensors_recognizes(const struct quantization_source *source);
int compressed_tensors_parse(const struct quantization_source *source,
                             struct quantization_config *ret_config);
