// SPDX-License-Identifier: Apache-2.0
/* All layouts of quantized checkpoints that are read. */
#pragma once

#include "daemon/model/readers/reader.h"

extern const struct reader_ops *const readers[];
extern const int n_readers;

/*
 * quantization_config_parse() - find the layout of @source and have it read there.
 * Return: 0 or -EBADMSG (code model_invalid or model_unsupported). Any thread.
 */
int quantization_config_parse(const struct quantization_source *source,
                              struct quantization_config *ret_config);
