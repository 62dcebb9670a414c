// SPDX-License-Identifier: Apache-2.0
/* Text for people: cleaning of untrusted strings, widths in columns, units. Any thread. */
#pragma once

#include "base/str.h"

/*
 * text_clean() - in place: replace by '?' what could move the cursor, hide or reorder text: control
 * and format characters, line separators, bytes that are not UTF-8.
 */
void text_clean(char *s);

/* text_cleaned() - a cleaned copy of @s, owned by the caller; NULL when out of memory. */
char *text_cleaned(const char *s);

/* text_width() - columns that @s (valid UTF-8) takes on a terminal. */
int text_width(const char *s);

/* text_fit() - bytes of the longest prefix of @s that takes at most @width columns. */
size_t text_fit(const char *s, int width);

#define TEXT_SIZE 32

/* "17", "3.9k", "138k", "2.1M": how many, or how many a second */
void text_count(double n, char out[TEXT_SIZE]);

/* "0.4 s", "42 s", "1 min 12 s", "2 h 05 min", "3 d 4 h" */
void text_duration(double seconds, char out[TEXT_SIZE]);

/* How long ago: "42 s", "12 min", "2 h", "3 d" */
void text_age(double seconds, char out[TEXT_SIZE]);

/* A perplexity, with fewer digits when it is large: "12.345", "1234.5", "inf" */
void text_perplexity(double value, char out[TEXT_SIZE]);

/* text_escape() - append @s to @buf in the form that a URL's query takes. */
void text_escape(struct strbuf *buf, const char *s);

/*
 * text_shell_word() - @s as one word for a shell, in quotes where it needs them; cleaned, owned by
 * the caller; NULL when out of memory.
 */
char *text_shell_word(const char *s);

/*
 * text_closest() - the one of @n words that is most similar to @s; NULL when none is similar.
 * @words: borrowed, NULL entries are left out
 */
const char *text_closest(const char *s, const char *const *words, size_t n);
