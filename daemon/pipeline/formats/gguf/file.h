// SPDX-License-Identifier: Apache-2.0
/* A GGUF file in the making. Private to the format. */
#pragma once

#include "daemon/pipeline/formats/format.h"

/*
 * The sizes of all tensors follow from the configuration, so the header, with keys and the table
 * of tensors, is written first, and the data behind it as it comes. Version 3 of the file
 * (ggml/include/gguf.h).
 */
extern const struct container_ops container_gguf;
