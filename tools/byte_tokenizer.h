// SPDX-License-Identifier: Apache-2.0
/*
 * A tokenizer.json for a model that never saw text: ids 0 to 255 are the bytes, and as many
 * characters from U+0800 up as the vocabulary holds are one token each, so that text can reach
 * nearly every row of the embedding.
 */
#pragma once

#include "base/failure.h"

/* The characters that become tokens are in this range; all take three bytes of UTF-8. */
#define BYTE_TOKENIZER_FIRST 0x800
#define BYTE_TOKENIZER_LAST 0xd7ff /* surrogates follow */

/*
 * byte_tokenizer_write() - write it to @path for a vocabulary of @vocab_size >= 256 ids.
 * Return: 0; -EINVAL (invalid_option) for a smaller one; -ENOMEM; or -errno. Any thread.
 */
int byte_tokenizer_write(const char *path, int vocab_size, struct failure *failure);
