// SPDX-License-Identifier: Apache-2.0
/*
 * Words that are tokens as a whole: with ignore_merges a word of the vocabulary is that token, and
 * no merges are applied to it. Filled once, then immutable.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct whole_word {
    size_t at;     /* in bytes */
    uint32_t size; /* bytes; 0: the slot is empty */
    int32_t id;
};

/* Open addressing on the bytes of a word. */
struct whole_words {
    struct whole_word *slots; /* mask + 1 of them, at most half in use; owned; NULL: no words */
    size_t mask;
    uint64_t seed; /* random: a file cannot choose what collides */
    char *bytes;   /* of all words; owned */
    size_t n_bytes, capacity;
};

/* whole_words_init() - for @n words. Return: 0 or -errno. */
int whole_words_init(struct whole_words *words, size_t n);
void whole_words_done(struct whole_words *words);

/* whole_words_put() - copies @word, of at least one byte, no two the same. Return: 0 or -ENOMEM. */
int whole_words_put(struct whole_words *words, const char *word, size_t size, int32_t id);

/* whole_words_find() - the id of @word, -1 when there is none. */
int32_t whole_words_find(const struct whole_words *words, const char *word, size_t size);
