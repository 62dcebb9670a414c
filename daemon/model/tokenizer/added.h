// SPDX-License-Identifier: Apache-2.0
/* Added tokens: strings that are one token wherever they stand in a text. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct added_token {
    char *content; /* owned, not NUL-terminated */
    size_t size;   /* bytes, at least 1 */
    int32_t id;
};

/* Added tokens that are looked for in one pass, sorted by content once it is finished. */
struct added_set {
    struct added_token *tokens;
    size_t n, capacity;
    size_t first[257]; /* tokens[first[b]] ... tokens[first[b + 1] - 1] begin with byte b */
};

struct added_match {
    size_t start, end; /* bytes */
    int32_t id;
};

/* added_set_append() - copies @content. Return: 0 or -ENOMEM. */
int added_set_append(struct added_set *set, const char *content, size_t size, int32_t id);

/* added_set_finish() - sort; to be called once, before added_set_find(). Return: a token that is
 * there twice, borrowed, or NULL. */
const struct added_token *added_set_finish(struct added_set *set);

void added_set_done(struct added_set *set);

/*
 * added_set_find() - the leftmost match in @text at or after @from, of those the longest.
 * Return: false when there is none.
 */
bool added_set_find(const struct added_set *set, const char *text, size_t size, size_t from,
                    struct added_match *ret_match);
