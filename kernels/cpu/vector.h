// SPDX-License-Identifier: Apache-2.0
/* Elementwise mathematics that a compiler turns into vector code. f32, errors of a few ulp. */
#pragma once

#include <stdint.h>
#include <string.h>

/*
 * Compiles a hot loop for wider vectors too, chosen when the program starts. One machine always
 * makes the same choice, so results stay the same there. Not for ThreadSanitizer, which is not
 * ready yet when the choice is made.
 */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__)
#define vector_clones __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define vector_clones
#endif

#define vector_inline static inline __attribute__((always_inline))

/* Half to even, for |x| < 2^22: the sum has no bits left below one. */
vector_inline float vector_round(float x) {
    return (x + 0x1.8p23f) - 0x1.8p23f;
}

vector_inline float float_of_bits(int32_t bits) {
    float f;

    memcpy(&f, &bits, sizeof(f));
    return f;
}

vector_inline int32_t bits_of_float(float f) {
    int32_t bits;

    memcpy(&bits, &f, sizeof(bits));
    return bits;
}

/*
 * e^x = 2^k e^r, |r| <= ln(2)/2, with e^r by its Taylor polynomial of degree 7 (rest < 1e-8).
 * x is held to [-87, 88], where the result is a normal number. A NaN stays one.
 */
vector_inline float vector_exp(float x) {
    float k, r, p;

    x = x < -87.0f ? -87.0f : x;
    x = x > 88.0f ? 88.0f : x;
    k = vector_round(x * 0x1.715476p0f);
    r = x - k * 0x1.62e4p-1f; /* ln 2 in two parts: k times the first is exact */
    r = r - k * 0x1.7f7d1cp-20f;
    p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    /* the low bits of k + 1.5 * 2^23 are the integer k */
    return p * float_of_bits((int32_t)(((uint32_t)bits_of_float(k + 0x1.8p23f) + 127) << 23));
}

/* ln(x) of a positive normal x = 2^k m, m in [sqrt(1/2), sqrt(2)): 2 atanh((m - 1) / (m + 1)) */
vector_inline float vector_log(float x) {
    int32_t bits = bits_of_float(x) - 0x3f3504f3; /* sqrt(1/2) */
    int32_t k = bits >> 23;
    float m = float_of_bits((bits & 0x7fffff) + 0x3f3504f3);
    float f = (m - 1.0f) / (m + 1.0f), f2 = f * f, p;

    p = 2.0f / 9;
    p = p * f2 + 2.0f / 7;
    p = p * f2 + 2.0f / 5;
    p = p * f2 + 2.0f / 3;
    p = p * f2 + 2.0f;
    return (float)k * 0x1.62e43p-1f + p * f;
}

/* Sums in 16 lanes: an order of its own, the same for every width of vectors. */
#define N_LANES 16

vector_inline float lanes_sum(const float lanes[N_LANES]) {
    float sum = 0;

    for (int i = 0; i < N_LANES; i++)
        sum += lanes[i];
    return sum;
}

/* vector_max() - the largest of @n >= 1 values, NaN passed by; NaN when the first one is. */
vector_inline float vector_max(const float *s, size_t n) {
    float max[N_LANES], top = s[0];
    size_t i;

    for (int l = 0; l < N_LANES; l++)
        max[l] = s[0];
    for (i = 0; i + N_LANES <= n; i += N_LANES) {
        for (int l = 0; l < N_LANES; l++)
            max[l] = s[i + l] > max[l] ? s[i + l] : max[l];
    }
    for (; i < n; i++)
        top = s[i] > top ? s[i] : top;
    for (int l = 0; l < N_LANES; l++)
        top = max[l] > top ? max[l] : top;
    return top;
}
