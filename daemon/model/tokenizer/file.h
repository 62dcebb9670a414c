// SPDX-License-Identifier: Apache-2.0
/* Reads a tokenizer.json. */
#pragma once

#include "base/json.h"
#include "daemon/model/tokenizer/fields.h"

/* tokenizer_read() - fill it from what the file at @path says. Return: 0 or -errno. */
int tokenizer_read(struct tokenizer *tokenizer, const json_t *object, const char *path,
                   struct failure *failure);
