// SPDX-License-Identifier: Apache-2.0
/*
 * How many windows an evaluation text has, kept for a minute: who fills in a form asks many times.
 * Any thread; one counts at a time.
 */
#pragma once

#include "daemon/data/corpus.h"
#include "daemon/model/tokenizer/tokenizer.h"

struct counts;

struct counts *counts_new(void);         /* NULL: out of memory */
void counts_free(struct counts *counts); /* NULL is fine */

/*
 * counts_windows() - how many windows of @seqlen tokens the set @name has by @tokenizer, which is
 * of the file @tokenizer_path. Of a text above COUNTS_TEXT_MAX bytes only those are counted, and
 * the rest is taken to be like them. *ret_n is -1 when the text is not on this machine.
 * Return: 0; -ENODATA (dataset_too_short); -EBADMSG (dataset_invalid); or -errno.
 */
#define COUNTS_TEXT_MAX ((size_t)16 << 20)
int counts_windows(struct counts *counts, const struct corpora *corpora, const char *name,
                   const struct tokenizer *tokenizer, const char *tokenizer_path, int seqlen,
                   int *ret_n, struct failure *failure);
