// SPDX-License-Identifier: Apache-2.0
/*
 * The blocks of a GGUF file, whose tensors daemon/model/gguf gives the names of a checkpoint:
 *   NAME.TYPE u8 [rows, bytes of a row]
 * with TYPE one of gguf_types.h. A matrix is read as the weights that its blocks stand for.
 */
#pragma once

#include "daemon/model/readers/reader.h"

extern const struct reader_ops reader_gguf;
