// SPDX-License-Identifier: Apache-2.0
/* The tokenizer of a GGUF file. */
#pragma once

#include "daemon/model/gguf/file.h"
#include "daemon/model/tokenizer/tokenizer.h"

/*
 * gguf_tokenizer() - that of @file, which is at @path, opened as by file_open_in(). The
 * tokenizer.json in the same folder holds, when there is one; each of its tokens must have its id
 * in the file, too. Else it is made again from the keys, which say all that counts for tokenizers
 * called 'olmo': words by ByteLevel, text in form C. The caller owns *ret_tokenizer.
 * Return: 0; -EBADMSG (tokenizer_invalid); -EOPNOTSUPP (tokenizer_invalid): it is another one, and
 * only its tokenizer.json says what it does; or -errno. Any thread.
 */
int gguf_tokenizer(const struct gguf_file *file, const char *root, const char *path,
                   struct tokenizer **ret_tokenizer, struct failure *failure);

/* gguf_tokenizer_open() - the same of the file at @path. */
int gguf_tokenizer_open(const char *root, const char *path, struct tokenizer **ret_tokenizer,
                        struct failure *failure);
