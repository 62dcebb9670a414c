// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/tokenizer/added.h"

#include "base/cleanup.h"
#include "base/macros.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int added_set_append(struct added_set *set, const char *content, size_t size, int32_t id) {
    cleanup(freep) char *copy = NULL;

    if (set->n == set->capacity) {
        size_t capacity = set->capacity ? 2 * set->capacity : 32;
        struct added_token *tokens = reallocarray(set->tokens, capacity, sizeof(*tokens));

        if (!tokens)
            return -ENOMEM;
        set->tokens = tokens;
        set->capacity = capacity;
    }
    copy = malloc(size);
    if (!copy)
        return -ENOMEM;
    memcpy(copy, content, size);
    set->tokens[set->n++] =
        (struct added_token){.content = steal_ptr(copy), .size = size, .id = id};
    return 0;
}

/* A prefix sorts before what it begins. */
static int compare(const void *a, const void *b) {
    const struct added_token *x = a, *y = b;
    int r = memcmp(x->content, y->content, MIN(x->size, y->size));

    if (r)
        return r;
    return (x->size > y->size) - (x->size < y->size);
}

const struct added_token *added_set_finish(struct added_set *set) {
    size_t i = 0;

    if (set->n)
        qsort(set->tokens, set->n, sizeof(*set->tokens), compare);
    for (int b = 0; b < 256; b++) {
        set->first[b] = i;
        while (i < set->n && (unsigned char)set->tokens[i].content[0] == b)
            i++;
    }
    set->first[256] = i;
    for (i = 1; i < set->n; i++)
        if (compare(&set->tokens[i - 1], &set->tokens[i]) == 0)
            return &set->tokens[i];
    return NULL;
}

void added_set_done(struct added_set *set) {
    for (size_t i = 0; i < set->n; i++)
        free(set->tokens[i].content);
    free(set->tokens);
    *set = (struct added_set){0};
}

/* The first token in [low, high), which agree in @depth bytes, whose next byte is at least @b. */
static size_t lower_bound(const struct added_set *set, size_t low, size_t high, size_t depth,
                          int b) {
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct added_token *token = &set->tokens[middle];
        int next = token->size > depth ? (unsigned char)token->content[depth] : -1;

        if (next < b)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The longest token that @text begins with; its first byte is known to begin one. */
static const struct added_token *match_here(const struct added_set *set, const unsigned char *text,
                                            size_t size) {
    const struct added_token *longest = NULL;
    size_t low = set->first[text[0]], high = set->first[text[0] + 1];

    for (size_t depth = 1; low < high; depth++) {
        if (set->tokens[low].size == depth)
            longest = &set->tokens[low];
        if (depth == size)
            break;
        low = lower_bound(set, low, high, depth, text[depth]);
        high = lower_bound(set, low, high, depth, text[depth] + 1);
    }
    return longest;
}

bool added_set_find(const struct added_set *set, const char *text, size_t size, size_t from,
                    struct added_match *ret_match) {
    const unsigned char *bytes = (const unsigned char *)text;

    if (set->n == 0)
        return false;
    for (size_t i = from; i < size; i++) {
        const struct added_token *token;

        if (set->first[bytes[i]] == set->first[bytes[i] + 1])
            continue;
        token = match_here(set, bytes + i, size - i);
        if (!token)
            continue;
        *ret_match = (struct added_match){.start = i, .end = i + token->size, .id = token->id};
        return true;
    }
    return false;
}
