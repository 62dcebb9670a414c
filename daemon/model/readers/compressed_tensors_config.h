// SPDX-License-Identifier: Apache-2.0
/* The quantization_config of compressed-tensors. Private to readers/. */
#pragma once

#include "daemon/model/readers/reader.h"

bool compressed_tensors_recognizes(const struct quantization_source *source);
int compressed_tensors_parse(const struct quantization_source *source,
                             struct quantization_config *ret_config);
