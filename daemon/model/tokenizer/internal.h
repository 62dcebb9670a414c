// SPDX-License-Identifier: Apache-2.0
/*
 * What the tokenizer's files share; nobody else includes this. tokenizer_file.c fills a struct
 * tokenizer, tokenizer.c leads a text through it, the others are its stations: tokenizer_added.c,
 * tokenizer_nfc.c, tokenizer_bpe.c.
 */
#pragma once

#include "base/failure.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOKENIZER_CODE "tokenizer_invalid"
#define TOKENIZER_FILE_MAX ((size_t)64 << 20)
#define TOKENIZER_ID_MAX ((1 << 24) - 1)        /* OLMoE ends at 50279 */
#define TOKENIZER_ADDED_SIZE_MAX 256            /* bytes of an added token; bounds the matching */
#define TOKENIZER_TEXT_MAX ((size_t)1 << 30)    /* bytes of a text */
#define TOKENIZER_WORD_MAX ((uint32_t)64 << 20) /* bytes of a word; merging takes 28 for each */

/* Ids that grow. */
struct id_list {
    int32_t *ids; /* owned */
    size_t n, capacity;
};

/* id_list_append() - Return: 0 or -ENOMEM. */
int id_list_append(struct id_list *list, const int32_t *ids, size_t n);

/* -- added tokens ----------------------------------------------------------------------------- */

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

/* -- NFC -------------------------------------------------------------------------------------- */

/*
 * nfc_normalize() - @size bytes of valid UTF-8 in normalization form C. *ret_buffer is NULL when
 * the text is in it already, else the new text of *ret_size bytes, owned by the caller. Linear
 * time. Return: 0 or -ENOMEM.
 */
int nfc_normalize(const char *text, size_t size, char **ret_buffer, size_t *ret_size);

/* -- byte pair encoding ----------------------------------------------------------------------- */

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

/* -- the whole -------------------------------------------------------------------------------- */

struct tokenizer {
    bool nfc;                          /* normalize */
    bool prefix_space;                 /* each stretch between added tokens begins with a space */
    bool split_words;                  /* by GPT-2's pattern; else a stretch is one word */
    struct added_set added_raw;        /* looked for before the text is normalized */
    struct added_set added_normalized; /* looked for after */
    pcre2_code *words;                 /* matches one word at the start of a text */
    int32_t byte_ids[256];             /* id of each byte alone; -1 for some that UTF-8 never has */
    struct merge_table merges;
    int n_ids;
};

/* tokenizer_read() - fill all but words from the file at @path. Return: 0 or -errno. */
int tokenizer_read(struct tokenizer *tokenizer, const char *path, struct failure *failure);
