// SPDX-License-Identifier: Apache-2.0
/*
 * Normal random numbers as fast as memory takes them: each is one of 65536 quantiles of the normal
 * distribution, chosen by 16 bits of a counter-based generator (splitmix64; Steele, Lea and Flood,
 * "Fast splittable pseudorandom number generators", 2014). So any stretch of a stream is made
 * without what is before it, by any number of threads.
 */
#pragma once

#include "base/dtype.h"

#define NOISE_LEVELS 65536

struct noise {
    enum dtype dtype;
    void *levels; /* [NOISE_LEVELS] dtype, ascending; owned */
};

/*
 * noise_init() - normal numbers of @mean and standard deviation @std as @dtype: F32, F16 or BF16.
 * Return: 0, -EINVAL or -ENOMEM.
 */
int noise_init(struct noise *noise, enum dtype dtype, double mean, double std);
void noise_done(struct noise *noise);

/*
 * noise_fill() - elements @first .. @first + @n - 1 of stream @stream to @dst; @first is a multiple
 * of 4. Any thread.
 */
void noise_fill(const struct noise *noise, uint64_t stream, uint64_t first, void *dst, size_t n);

/* noise_mix() - a bijection of 64 bits that leaves no trace of the input's order. */
static inline uint64_t noise_mix(uint64_t z) {
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}
