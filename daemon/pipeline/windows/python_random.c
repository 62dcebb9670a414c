// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/windows/python_random.h"

#define N PYTHON_RANDOM_WORDS
#define M 397

static void seed_with_word(struct python_random *random, uint32_t seed) {
    uint32_t *s = random->state;

    s[0] = seed;
    for (uint32_t i = 1; i < N; i++)
        s[i] = 1812433253u * (s[i - 1] ^ s[i - 1] >> 30) + i;
    random->at = N;
}

/* init_by_array() of the reference implementation, for a key of one or two words */
static void seed_with_key(struct python_random *random, const uint32_t *key, uint32_t n_key) {
    uint32_t *s = random->state;
    uint32_t i = 1, j = 0;

    seed_with_word(random, 19650218);
    for (int k = 0; k < N; k++) {
        s[i] = (s[i] ^ (s[i - 1] ^ s[i - 1] >> 30) * 1664525u) + key[j] + j;
        if (++i == N) {
            s[0] = s[N - 1];
            i = 1;
        }
        if (++j == n_key)
            j = 0;
    }
    for (int k = 0; k < N - 1; k++) {
        s[i] = (s[i] ^ (s[i - 1] ^ s[i - 1] >> 30) * 1566083941u) - i;
        if (++i == N) {
            s[0] = s[N - 1];
            i = 1;
        }
    }
    s[0] = 0x80000000;
}

/* The key is the seed in 32-bit words, lowest first, without zero words at its end; 0 is one. */
void python_random_seed(struct python_random *random, uint64_t seed) {
    uint32_t key[] = {(uint32_t)seed, (uint32_t)(seed >> 32)};

    seed_with_key(random, key, key[1] ? 2 : 1);
}

static void make_words(uint32_t *s) {
    for (int i = 0; i < N; i++) {
        uint32_t y = (s[i] & 0x80000000) | (s[(i + 1) % N] & 0x7fffffff);

        s[i] = s[(i + M) % N] ^ y >> 1 ^ (y & 1 ? 0x9908b0df : 0);
    }
}

static uint32_t next_word(struct python_random *random) {
    uint32_t y;

    if (random->at == N) {
        make_words(random->state);
        random->at = 0;
    }
    y = random->state[random->at++];
    y ^= y >> 11;
    y ^= y << 7 & 0x9d2c5680;
    y ^= y << 15 & 0xefc60000;
    return y ^ y >> 18;
}

uint64_t python_random_bits(struct python_random *random, int n_bits) {
    uint64_t low;

    if (n_bits <= 32)
        return next_word(random) >> (32 - n_bits);
    low = next_word(random);
    return (uint64_t)(next_word(random) >> (64 - n_bits)) << 32 | low;
}

uint64_t python_random_below(struct python_random *random, uint64_t n) {
    int n_bits = 64 - __builtin_clzll(n); /* int.bit_length() */
    uint64_t value;

    do
        value = python_random_bits(random, n_bits);
    while (value >= n);
    return value;
}

uint64_t python_random_int(struct python_random *random, uint64_t last) {
    return python_random_below(random, last + 1);
}
