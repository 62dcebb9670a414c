// SPDX-License-Identifier: Apache-2.0
/* Text that is drawn at random, for models that never saw any. */
#pragma once

#include "base/failure.h"

#include <stddef.h>

/*
 * random_text_write() - write characters from U+0800 to U+CFFF to @path, as many as give close
 * above @n_tokens tokens of the tokenizer.json at @tokenizer. @seed other than before: another
 * text. Return: 0 or -errno.
 */
int random_text_write(const char *path, const char *tokenizer, size_t n_tokens, unsigned int seed,
                      struct failure *failure);
