// SPDX-License-Identifier: Apache-2.0
/*
 * Text to token ids, from the tokenizer.json of a checkpoint with byte-level BPE (GPT-NeoX, OLMoE,
 * OLMo 2, ...): added tokens, NFC, words by GPT-2's or cl100k's pattern, BPE. Gives the ids that
 * Hugging Face tokenizers gives with add_special_tokens=False: no BOS, no EOS, whatever the
 * post_processor would add, since windows are cut anywhere from a text. A file that asks for
 * anything else is refused by name, not read halfway.
 */
#pragma once

#include "base/cleanup.h"
#include "base/json.h"

#include <stddef.h>
#include <stdint.h>

struct tokenizer; /* immutable after open: any number of threads may encode with it */

/**
 * tokenizer_open() - read a tokenizer.json
 * @path:          the file, at most 64 MiB; hostile
 * @ret_tokenizer: owned by the caller; untouched on failure
 * @failure:       code tokenizer_invalid, or why the file could not be read
 *
 * Return: 0; -EBADMSG for what is no tokenizer, -EOPNOTSUPP for one of another kind; or -errno.
 */
int tokenizer_open(const char *root, const char *path, struct tokenizer **ret_tokenizer,
                   struct failure *failure);

/* tokenizer_from_json() - the same of @object, which is read already; @path: for messages. */
int tokenizer_from_json(const json_t *object, const char *path, struct tokenizer **ret_tokenizer,
                        struct failure *failure);

/*
 * tokenizer_check() - can the tokenizer.json at @path be used? Takes as long as opening it, a
 * tenth of a second for 50000 tokens. Return: as tokenizer_open(). Any thread.
 */
int tokenizer_check(const char *root, const char *path, struct failure *failure);

/* tokenizer_free() - NULL is fine. */
void tokenizer_free(struct tokenizer *tokenizer);

DEFINE_CLEANUP(struct tokenizer *, tokenizer_freep, tokenizer_free)

/* tokenizer_n_ids() - the largest id that encode can give, plus 1. */
int tokenizer_n_ids(const struct tokenizer *tokenizer);

/**
 * tokenizer_encode() - the ids of a text
 * @text:      @size bytes of UTF-8, at most 1 GiB, no stretch without a word break over 64 MiB;
 *             may hold NUL bytes
 * @ret_ids:   *@ret_n_ids ids in [0, tokenizer_n_ids()), owned by the caller; never NULL
 * @ret_n_ids: their number; may exceed INT32_MAX
 *
 * Takes O(size log size) at worst. Return: 0, -EBADMSG for invalid UTF-8, -EFBIG, -ENOMEM; the
 * outputs are untouched on failure. Any thread.
 */
int tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t size,
                     int32_t **ret_ids, size_t *ret_n_ids, struct failure *failure);
