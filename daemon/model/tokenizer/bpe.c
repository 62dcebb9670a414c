// SPDX-License-Identifier: Apache-2.0
/*
 * Byte pair encoding: of all neighbours that may merge, those of the lowest rank do, of these the
 * leftmost, until none may. Symbols are a linked list, candidates a heap, so that a word of n
 * bytes takes O(n log n); words of a usual length come out of a cache.
 */
#include "daemon/model/tokenizer/bpe.h"

#include "base/checked.h"
#include "base/macros.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define POSITION_NONE UINT32_MAX
#define ID_DEAD UINT32_MAX /* a symbol that its left neighbour swallowed */

struct symbol {
    uint32_t id;
    uint32_t previous, next; /* positions */
};

/* One line of the cache, chosen by the word's hash; a newcomer evicts. */
#define CACHE_LINES 16384
#define CACHE_WORD_SIZE 22
#define CACHE_N_IDS 8

struct cached_word {
    int32_t ids[CACHE_N_IDS];
    uint8_t size; /* bytes; 0: empty */
    uint8_t n_ids;
    char word[CACHE_WORD_SIZE];
};

/* The finalizer of MurmurHash3. */
static uint64_t mix(uint64_t x) {
    x = (x ^ x >> 33) * 0xff51afd7ed558ccdULL;
    x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53ULL;
    return x ^ x >> 33;
}

int merge_table_init(struct merge_table *table, size_t n_merges) {
    size_t n_slots = 16, need;

    if (checked_mul(n_merges, 2, &need))
        return -ENOMEM;
    while (n_slots < need)
        if (checked_mul(n_slots, 2, &n_slots))
            return -ENOMEM;
    if (getrandom(&table->seed, sizeof(table->seed), 0) != sizeof(table->seed))
        return -EIO;
    table->slots = reallocarray(NULL, n_slots, sizeof(*table->slots));
    if (!table->slots)
        return -ENOMEM;
    for (size_t i = 0; i < n_slots; i++)
        table->slots[i].left = MERGE_NONE;
    table->mask = n_slots - 1;
    return 0;
}

void merge_table_done(struct merge_table *table) {
    free(table->slots);
    *table = (struct merge_table){0};
}

/* The slot of the pair, or the empty one where it belongs: at least half of them are empty. */
static struct merge *merge_slot(const struct merge_table *table, uint32_t left, uint32_t right) {
    uint64_t i = mix(((uint64_t)left << 32 | right) ^ table->seed);

    for (;; i++) {
        struct merge *slot = &table->slots[i & table->mask];

        if (slot->left == MERGE_NONE || (slot->left == left && slot->right == right))
            return slot;
    }
}

void merge_table_put(struct merge_table *table, const struct merge *merge) {
    *merge_slot(table, merge->left, merge->right) = *merge;
}

/* NULL when the two do not merge. */
static const struct merge *merge_find(const struct merge_table *table, uint32_t left,
                                      uint32_t right) {
    const struct merge *slot = merge_slot(table, left, right);

    return slot->left == MERGE_NONE ? NULL : slot;
}

/* Each node has HEAP_WIDTH children: one cache line, and a third of the levels of a binary heap. */
#define HEAP_WIDTH 8

static void heap_sift_down(uint64_t *heap, size_t n, size_t i) {
    uint64_t value = heap[i];

    for (;;) {
        size_t first = HEAP_WIDTH * i + 1, end = MIN(first + HEAP_WIDTH, n), least = first;

        if (first >= n)
            break;
        for (size_t child = first + 1; child < end; child++)
            if (heap[child] < heap[least])
                least = child;
        if (heap[least] >= value)
            break;
        heap[i] = heap[least];
        i = least;
    }
    heap[i] = value;
}

static uint64_t heap_pop(struct bpe *bpe) {
    uint64_t top = bpe->heap[0];

    bpe->heap[0] = bpe->heap[--bpe->heap_n];
    if (bpe->heap_n)
        heap_sift_down(bpe->heap, bpe->heap_n, 0);
    return top;
}

static void heap_push(struct bpe *bpe, uint64_t value) {
    size_t i = bpe->heap_n++;

    while (i && bpe->heap[(i - 1) / HEAP_WIDTH] > value) {
        bpe->heap[i] = bpe->heap[(i - 1) / HEAP_WIDTH];
        i = (i - 1) / HEAP_WIDTH;
    }
    bpe->heap[i] = value;
}

/* The merge of the symbol at @left with its next one, or NULL. */
static const struct merge *merge_at(const struct bpe *bpe, uint32_t left) {
    const struct symbol *symbol = &bpe->symbols[left];

    if (symbol->id == ID_DEAD || symbol->next == POSITION_NONE)
        return NULL;
    return merge_find(bpe->merges, symbol->id, bpe->symbols[symbol->next].id);
}

static void push_candidate(struct bpe *bpe, uint32_t left) {
    const struct merge *merge = merge_at(bpe, left);

    if (merge)
        heap_push(bpe, (uint64_t)merge->rank << 32 | left);
}

/* The symbol at @left swallows its next one. */
static void merge_symbols(struct bpe *bpe, uint32_t left, uint32_t id) {
    struct symbol *symbols = bpe->symbols, *symbol = &symbols[left];

    symbols[symbol->next].id = ID_DEAD;
    symbol->id = id;
    symbol->next = symbols[symbol->next].next;
    if (symbol->next != POSITION_NONE)
        symbols[symbol->next].previous = left;
    if (symbol->previous != POSITION_NONE)
        push_candidate(bpe, symbol->previous);
    push_candidate(bpe, left);
}

/* Room for @n symbols and for all candidates: n at first, and each merge takes one, adds two. */
static int reserve(struct bpe *bpe, size_t n) {
    size_t capacity = 256;

    if (n <= bpe->symbols_capacity)
        return 0;
    while (capacity < n)
        capacity *= 2;
    free(bpe->symbols);
    free(bpe->heap);
    bpe->symbols_capacity = 0;
    bpe->symbols = reallocarray(NULL, capacity, sizeof(*bpe->symbols));
    bpe->heap = reallocarray(NULL, 2 * capacity, sizeof(*bpe->heap));
    if (!bpe->symbols || !bpe->heap)
        return -ENOMEM;
    bpe->symbols_capacity = capacity;
    return 0;
}

static int merge_word(struct bpe *bpe, const char *word, size_t size, struct id_list *ids) {
    int32_t whole = whole_words_find(bpe->whole, word, size);
    int r;

    if (whole >= 0)
        return id_list_append(ids, &whole, 1);
    r = reserve(bpe, size);
    if (r)
        return r;
    for (uint32_t i = 0; i < size; i++)
        bpe->symbols[i] = (struct symbol){
            .id = (uint32_t)bpe->byte_ids[(unsigned char)word[i]],
            .previous = i ? i - 1 : POSITION_NONE,
            .next = i + 1 < size ? i + 1 : POSITION_NONE,
        };
    bpe->heap_n = 0;
    for (uint32_t i = 0; i < size; i++) {
        const struct merge *merge = merge_at(bpe, i);

        if (merge)
            bpe->heap[bpe->heap_n++] = (uint64_t)merge->rank << 32 | i;
    }
    for (size_t i = bpe->heap_n / HEAP_WIDTH + 1; i-- > 0;)
        if (i < bpe->heap_n)
            heap_sift_down(bpe->heap, bpe->heap_n, i);
    while (bpe->heap_n) {
        uint64_t top = heap_pop(bpe);
        uint32_t left = (uint32_t)top;
        const struct merge *merge = merge_at(bpe, left);

        /* An outdated candidate: one of the two has merged with another since. */
        if (!merge || merge->rank != top >> 32)
            continue;
        merge_symbols(bpe, left, merge->id);
    }
    for (uint32_t i = 0; i != POSITION_NONE; i = bpe->symbols[i].next) {
        int32_t id = (int32_t)bpe->symbols[i].id;

        r = id_list_append(ids, &id, 1);
        if (r)
            return r;
    }
    return 0;
}

/* FNV-1a, mixed. */
static struct cached_word *cache_line(struct bpe *bpe, const char *word, size_t size) {
    uint64_t hash = 0xcbf29ce484222325ULL;

    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (unsigned char)word[i]) * 0x100000001b3ULL;
    return &bpe->cache[mix(hash) % CACHE_LINES];
}

int bpe_encode_word(struct bpe *bpe, const char *word, size_t size, struct id_list *ids) {
    struct cached_word *line;
    size_t before = ids->n, n;
    int r;

    if (size == 1)
        return id_list_append(ids, &bpe->byte_ids[(unsigned char)word[0]], 1);
    if (!bpe->cache)
        bpe->cache = calloc(CACHE_LINES, sizeof(*bpe->cache));
    if (!bpe->cache || size > CACHE_WORD_SIZE)
        return merge_word(bpe, word, size, ids);
    line = cache_line(bpe, word, size);
    if (line->size == size && memcmp(line->word, word, size) == 0)
        return id_list_append(ids, line->ids, line->n_ids);
    r = merge_word(bpe, word, size, ids);
    if (r)
        return r;
    n = ids->n - before;
    if (n <= CACHE_N_IDS) {
        memcpy(line->ids, ids->ids + before, n * sizeof(*line->ids));
        memcpy(line->word, word, size);
        line->n_ids = (uint8_t)n;
        line->size = (uint8_t)size;
    }
    return 0;
}

void bpe_done(struct bpe *bpe) {
    free(bpe->symbols);
    free(bpe->heap);
    free(bpe->cache);
}
