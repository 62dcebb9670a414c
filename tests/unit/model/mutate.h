// SPDX-License-Identifier: Apache-2.0
/* Damage for hostile-input tests: reproducible from a seed. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* next_random() - xorshift64; @seed must not be 0. */
static inline uint64_t next_random(uint64_t *seed) {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* mutate() - one to four changes in @text: a bit, a byte that means something, a run of bytes. */
static inline void mutate(char *text, size_t size, uint64_t *seed) {
    static const char telling[] = "{}[]\",:\\0129-.eu \0\xff";
    size_t n = 1 + next_random(seed) % 4;

    while (n--) {
        size_t at = next_random(seed) % size, from = next_random(seed) % size;
        size_t run = 1 + next_random(seed) % 64, rest = size - (at > from ? at : from);

        switch (next_random(seed) % 3) {
        case 0:
            text[at] ^= (char)(1 << next_random(seed) % 8);
            break;
        case 1:
            text[at] = telling[next_random(seed) % (sizeof(telling) - 1)];
            break;
        default:
            memmove(text + at, text + from, run < rest ? run : rest);
            break;
        }
    }
}
