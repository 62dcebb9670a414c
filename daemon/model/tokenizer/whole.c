// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/tokenizer/whole.h"

#include "base/checked.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

int whole_words_init(struct whole_words *words, size_t n) {
    size_t n_slots = 16, need;

    if (checked_mul(n, 2, &need))
        return -ENOMEM;
    while (n_slots < need)
        if (checked_mul(n_slots, 2, &n_slots))
            return -ENOMEM;
    if (getrandom(&words->seed, sizeof(words->seed), 0) != sizeof(words->seed))
        return -EIO;
    words->slots = calloc(n_slots, sizeof(*words->slots));
    words->mask = n_slots - 1;
    return words->slots ? 0 : -ENOMEM;
}

void whole_words_done(struct whole_words *words) {
    free(words->slots);
    free(words->bytes);
}

/* FNV-1a, and the finalizer of MurmurHash3. */
static uint64_t hash_of(const struct whole_words *words, const char *word, size_t size) {
    uint64_t hash = 0xcbf29ce484222325ULL ^ words->seed;

    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (unsigned char)word[i]) * 0x100000001b3ULL;
    hash = (hash ^ hash >> 33) * 0xff51afd7ed558ccdULL;
    hash = (hash ^ hash >> 33) * 0xc4ceb9fe1a85ec53ULL;
    return hash ^ hash >> 33;
}

/* The slot of the word, or the empty one where it belongs: at least half of them are empty. */
static struct whole_word *slot_of(const struct whole_words *words, const char *word, size_t size) {
    for (uint64_t i = hash_of(words, word, size);; i++) {
        struct whole_word *slot = &words->slots[i & words->mask];

        if (!slot->size || (slot->size == size && !memcmp(words->bytes + slot->at, word, size)))
            return slot;
    }
}

int whole_words_put(struct whole_words *words, const char *word, size_t size, int32_t id) {
    size_t need;

    if (checked_add(words->n_bytes, size, &need))
        return -ENOMEM;
    if (need > words->capacity) {
        size_t capacity = need + words->capacity + 4096;
        char *grown = realloc(words->bytes, capacity);

        if (!grown)
            return -ENOMEM;
        words->bytes = grown;
        words->capacity = capacity;
    }
    *slot_of(words, word, size) =
        (struct whole_word){.at = words->n_bytes, .size = (uint32_t)size, .id = id};
    memcpy(words->bytes + words->n_bytes, word, size);
    words->n_bytes = need;
    return 0;
}

int32_t whole_words_find(const struct whole_words *words, const char *word, size_t size) {
    const struct whole_word *slot;

    if (!words->slots || size > UINT32_MAX)
        return -1;
    slot = slot_of(words, word, size);
    return slot->size ? slot->id : -1;
}
