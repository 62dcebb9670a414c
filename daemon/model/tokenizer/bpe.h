// SPDX-License-Identifier: Apache-2.0
/* Byte pair encoding of single words. */
#pragma once

#include "daemon/model/tokenizer/ids.h"
#include "daemon/model/tokenizer/whole.h"

#define TOKENIZER_WORD_MAX ((uint32_t)64 << 20) /* bytes of a word; merging takes 28 for each */

struct merge {
    uint32_t left, right; /* ids; left is MERGE_NONE in an empty slot */
    uint32_t rank;        /* lower ones merge first */
    uint32_t id;          /* what the two become */
};

#define MERGE_NONE UINT32_MAX

/* Open addressing on (left, right). */
struct merge_table {
    struct merge *slots; /* mask + 1 of them, at most half in use; owned */
    size_t mask;
    uint64_t seed; /* random: a file cannot choose what collides */
};

/* merge_table_init() - an empty table for @n_merges. Return: 0 or -errno. */
int merge_table_init(struct merge_table *table, size_t n_merges);
void merge_table_done(struct merge_table *table);

/* merge_table_put() - a later merge of the same pair replaces the earlier one. */
void merge_table_put(struct merge_table *table, const struct merge *merge);

struct symbol;
struct cached_word;

/* What one call of encode needs to merge words. Zero-initialise. */
struct bpe {
    const struct merge_table *merges; /* borrowed */
    const struct whole_words *whole;  /* words that no merge is applied to; borrowed */
    const int32_t *byte_ids;          /* [256], borrowed */
    struct symbol *symbols;
    size_t symbols_capacity;
    uint64_t *heap; /* candidates: rank << 32 | position of the left symbol */
    size_t heap_n, heap_capacity;
    struct cached_word *cache; /* may be NULL */
};

void bpe_done(struct bpe *bpe);

/* bpe_encode_word() - append the ids of one word, at most TOKENIZER_WORD_MAX bytes, not empty.
 * Return: 0 or -ENOMEM. */
int bpe_encode_word(struct bpe *bpe, const char *word, size_t size, struct id_list *ids);
