// SPDX-License-Identifier: Apache-2.0
/*
 * Python's random.Random, bit for bit: the Mersenne Twister MT19937 (Matsumoto and Nishimura,
 * "Mersenne Twister: a 623-dimensionally equidistributed uniform pseudo-random number generator",
 * 1998), seeded and drawn from as CPython 3 does. One generator is used by one thread.
 */
#pragma once

#include <stdint.h>

#define PYTHON_RANDOM_WORDS 624

struct python_random {
    uint32_t state[PYTHON_RANDOM_WORDS];
    int at; /* next word of state; PYTHON_RANDOM_WORDS: make new ones */
};

/* python_random_seed() - random.seed(@seed) for an int */
void python_random_seed(struct python_random *random, uint64_t seed);

/* python_random_bits() - random.getrandbits(@n_bits); 1 <= n_bits <= 64 */
uint64_t python_random_bits(struct python_random *random, int n_bits);

/* python_random_below() - random.randrange(@n), by rejection; n >= 1 */
uint64_t python_random_below(struct python_random *random, uint64_t n);

/* python_random_int() - random.randint(0, @last): 0 <= result <= last < UINT64_MAX */
uint64_t python_random_int(struct python_random *random, uint64_t last);
