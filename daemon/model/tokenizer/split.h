// SPDX-License-Identifier: Apache-2.0
/*
 * How a text is split into words: a pattern that matches one word at a time, by PCRE2. A pattern is
 * read when each of its alternatives is known, so that what PCRE2 matches is what the regular
 * expressions of Hugging Face tokenizers (Oniguruma) do, and in linear time.
 */
#pragma once

#include "base/failure.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>

/* GPT-2's, which ByteLevel uses by itself. */
#define SPLIT_GPT2                                                                                 \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

struct split; /* immutable: any number of threads */

/* What one call of encode needs to match; zero-initialise. */
struct split_match {
    void *data, *context;
};

/*
 * split_translate() - a regular expression of a tokenizer.json as one for split_new().
 * Return: 0; -ENOMEM; -EOPNOTSUPP: *ret_unknown (@size bytes) is the alternative that is not
 * known, or "" when the known ones do not match every character.
 */
int split_translate(const char *regex, struct strbuf *pattern, char *ret_unknown, size_t size);

/* split_digits() - the pattern of runs of digits, or single ones, and of all between them. */
const char *split_digits(bool individual);

/* split_new() - the caller owns *ret_split. Return: 0, -ENOMEM, or -ENOTSUP with the failure. */
int split_new(const char *pattern, struct split **ret_split, struct failure *failure);
void split_free(struct split *split); /* NULL is fine */

/* split_match_init() - for texts of up to @size bytes. Return: 0 or -ENOMEM. */
int split_match_init(struct split_match *match, size_t size);
void split_match_done(struct split_match *match);

/*
 * split_next() - the end of the word of @text (UTF-8, @size bytes) that begins at @at < @size.
 * Return: 0; -ENOMEM; -EIO (text_invalid): PCRE2 failed.
 */
int split_next(const struct split *split, const struct split_match *match, const char *text,
               size_t size, size_t at, size_t *ret_end, struct failure *failure);
