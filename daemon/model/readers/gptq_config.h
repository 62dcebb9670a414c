// SPDX-License-Identifier: Apache-2.0
/* The quantization_config of the gptq layout: two members of reader_gptq. */
#pragma once

#include "daemon/model/readers/reader.h"

bool gptq_recognizes(const struct quantization_source *source);
int gptq_parse(const struct quantization_source *source, struct quantization_config *ret_config);
