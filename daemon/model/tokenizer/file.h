// SPDX-License-Identifier: Apache-2.0
/* Reads a tokenizer.json. */
#pragma once

#include "base/failure.h"
#include "daemon/model/tokenizer/fields.h"

/* tokenizer_read() - fill it from the file at @path, opened as by file_open_in(). Return: 0 or
 * -errno. */
int tokenizer_read(struct tokenizer *tokenizer, const char *root, const char *path,
                   struct failure *failure);
