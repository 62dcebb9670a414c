// SPDX-License-Identifier: Apache-2.0
/* The normalizer, pre_tokenizer and post_processor of a tokenizer.json. */
#pragma once

#include "daemon/model/tokenizer/reader.h"

/*
 * stages_read() - what @root says of them: nfc, prefix_space and splits of the tokenizer. What adds
 * tokens around a text is passed over: texts are read without special tokens.
 * Return: 0; -EBADMSG; -EOPNOTSUPP: another normalizer, pattern and so on, which is named; -ENOMEM.
 */
int stages_read(struct reader *reader, const json_t *root);
