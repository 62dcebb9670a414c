// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/readers/gguf_types.h"

#include "base/macros.h"

#include <math.h>

static float f16_at(const unsigned char *at) {
    return f16_to_f32((uint16_t)(at[0] | at[1] << 8));
}

/* ---- blocks of 32; d and m are f16 ---- */

/* d, qs[16]: byte j has elements j and j + 16; w = d * (q - 8) */
static void unpack_q4_0(const unsigned char *from, float *to) {
    float d = f16_at(from);

    for (int j = 0; j < 16; j++) {
        to[j] = d * (float)((from[2 + j] & 15) - 8);
        to[j + 16] = d * (float)((from[2 + j] >> 4) - 8);
    }
}

/* d, m, qs[16]; w = d * q + m */
static void unpack_q4_1(const unsigned char *from, float *to) {
    float d = f16_at(from), m = f16_at(from + 2);

    for (int j = 0; j < 16; j++) {
        to[j] = d * (float)(from[4 + j] & 15) + m;
        to[j + 16] = d * (float)(from[4 + j] >> 4) + m;
    }
}

/* Element @j of qh u32, whose bit j is the highest of it, and qs[16]. */
static int five_bits(const unsigned char *qh, int j) {
    int low = j < 16 ? qh[4 + j] & 15 : qh[4 + j - 16] >> 4;

    return low | (qh[j / 8] >> j % 8 & 1) << 4;
}

/* d, qh, qs; w = d * (q - 16) */
static void unpack_q5_0(const unsigned char *from, float *to) {
    float d = f16_at(from);

    for (int j = 0; j < 32; j++)
        to[j] = d * (float)(five_bits(from + 2, j) - 16);
}

/* d, m, qh, qs; w = d * q + m */
static void unpack_q5_1(const unsigned char *from, float *to) {
    float d = f16_at(from), m = f16_at(from + 2);

    for (int j = 0; j < 32; j++)
        to[j] = d * (float)five_bits(from + 4, j) + m;
}

/* d, i8 qs[32]; w = d * q */
static void unpack_q8_0(const unsigned char *from, float *to) {
    float d = f16_at(from);

    for (int j = 0; j < 32; j++)
        to[j] = d * (float)(int8_t)from[2 + j];
}

/* The scale is rounded to f16 after the codes are chosen by it; one that comes to 0 has none. */
void gguf_pack_q8_0(const float *from, unsigned char *to) {
    float most = 0, d, inverse;
    uint16_t scale;

    for (int j = 0; j < GGUF_Q8_0_BLOCK; j++)
        most = MAX(most, fabsf(from[j]));
    d = most / 127;
    scale = f32_to_f16(d);
    inverse = scale ? 1 / d : 0;
    to[0] = (unsigned char)scale;
    to[1] = (unsigned char)(scale >> 8);
    for (int j = 0; j < GGUF_Q8_0_BLOCK; j++)
        to[2 + j] = (unsigned char)(int8_t)roundf(from[j] * inverse);
}

/* ---- blocks of 64 ---- */

/* d, qs[16]: two bits each; w = d * (q - 1) */
static void unpack_q2_0(const unsigned char *from, float *to) {
    float d = f16_at(from);

    for (int j = 0; j < 64; j++)
        to[j] = d * (float)((from[2 + j / 4] >> 2 * (j % 4) & 3) - 1);
}

/* ---- blocks of 256 ---- */

/* Of the two bits of Q2_K and Q3_K: element 128 h + 32 j + l has bits 2 j of byte 32 h + l. */
static int two_bits(const unsigned char *qs, int i) {
    return qs[32 * (i / 128) + i % 32] >> 2 * (i % 128 / 32) & 3;
}

/* scales[16] of 16 elements each: scale and minimum, qs[64], d, dmin; w = d * sc * q - dmin * m */
static void unpack_q2_k(const unsigned char *from, float *to) {
    float d = f16_at(from + 80), dmin = f16_at(from + 82);

    for (int s = 0; s < 16; s++) {
        float scale = d * (float)(from[s] & 15), minimum = dmin * (float)(from[s] >> 4);

        for (int i = 16 * s; i < 16 * s + 16; i++)
            to[i] = scale * (float)two_bits(from + 16, i) - minimum;
    }
}

/* hmask[32], qs[64], scales[12]: 16 of 6 bits, the low four in 8 bytes, the high two in 4, d;
 * w = d * (sc - 32) * (q - (its bit of hmask is set ? 0 : 4)) */
static void unpack_q3_k(const unsigned char *from, float *to) {
    const unsigned char *scales = from + 96;
    float d = f16_at(from + 108);

    for (int s = 0; s < 16; s++) {
        int low = s < 8 ? scales[s] & 15 : scales[s - 8] >> 4;
        int high = scales[8 + s % 4] >> 2 * (s / 4) & 3;
        float scale = d * (float)((low | high << 4) - 32);

        for (int i = 16 * s; i < 16 * s + 16; i++)
            to[i] = scale * (float)(two_bits(from + 32, i) - (from[i % 32] >> i / 32 & 1 ? 0 : 4));
    }
}

/* Scale and minimum number @s of the 12 bytes of Q4_K and Q5_K: the first four of each have a byte
 * of their own, the others share one and keep their high bits in those. */
static void six_bits(const unsigned char *from, int s, int *ret_scale, int *ret_minimum) {
    if (s < 4) {
        *ret_scale = from[s] & 63;
        *ret_minimum = from[s + 4] & 63;
    } else {
        *ret_scale = (from[s + 4] & 15) | from[s - 4] >> 6 << 4;
        *ret_minimum = from[s + 4] >> 4 | from[s] >> 6 << 4;
    }
}

/* Sub-blocks of 32: codes from qs, 64 in 32 bytes, and bit s of byte l of @high, if there is one;
 * w = d * sc * q - dmin * m */
static void unpack_affine(const unsigned char *from, const unsigned char *high,
                          const unsigned char *qs, float *to) {
    float d = f16_at(from), dmin = f16_at(from + 2);

    for (int s = 0; s < 8; s++) {
        int sc, m;
        float scale, minimum;

        six_bits(from + 4, s, &sc, &m);
        scale = d * (float)sc;
        minimum = dmin * (float)m;
        for (int l = 0; l < 32; l++) {
            int q = qs[32 * (s / 2) + l] >> 4 * (s % 2) & 15;

            if (high)
                q |= (high[l] >> s & 1) << 4;
            to[32 * s + l] = scale * (float)q - minimum;
        }
    }
}

/* d, dmin, scales[12], qs[128] */
static void unpack_q4_k(const unsigned char *from, float *to) {
    unpack_affine(from, NULL, from + 16, to);
}

/* d, dmin, scales[12], qh[32], qs[128] */
static void unpack_q5_k(const unsigned char *from, float *to) {
    unpack_affine(from, from + 16, from + 48, to);
}

/* ql[128], qh[64], i8 scales[16], d; per half: element 32 j + l has its low four bits in byte
 * l + 32 (j % 2) of ql, the high two in bits 2 j of byte l of qh; w = d * sc * (q - 32) */
static void unpack_q6_k(const unsigned char *from, float *to) {
    float d = f16_at(from + 208);

    for (int i = 0; i < 256; i++) {
        int half = i / 128, j = i % 128 / 32, l = i % 32;
        int low = from[64 * half + 32 * (j % 2) + l] >> 4 * (j / 2) & 15;
        int high = from[128 + 32 * half + l] >> 2 * j & 3;

        to[i] = d * (float)(int8_t)from[192 + i / 16] * (float)((low | high << 4) - 32);
    }
}

/* ---- all types ---- */

const struct gguf_type gguf_types[] = {
    {"F32", 0, 1, 4, DTYPE_F32, NULL},
    {"F16", 1, 1, 2, DTYPE_F16, NULL},
    {"BF16", 30, 1, 2, DTYPE_BF16, NULL},
    {"Q4_0", 2, 32, 18, DTYPE_U8, unpack_q4_0},
    {"Q4_1", 3, 32, 20, DTYPE_U8, unpack_q4_1},
    {"Q5_0", 6, 32, 22, DTYPE_U8, unpack_q5_0},
    {"Q5_1", 7, 32, 24, DTYPE_U8, unpack_q5_1},
    {"Q8_0", 8, 32, 34, DTYPE_U8, unpack_q8_0},
    {"Q2_0", 42, 64, 18, DTYPE_U8, unpack_q2_0},
    {"Q2_K", 10, 256, 84, DTYPE_U8, unpack_q2_k},
    {"Q3_K", 11, 256, 110, DTYPE_U8, unpack_q3_k},
    {"Q4_K", 12, 256, 144, DTYPE_U8, unpack_q4_k},
    {"Q5_K", 13, 256, 176, DTYPE_U8, unpack_q5_k},
    {"Q6_K", 14, 256, 210, DTYPE_U8, unpack_q6_k},
    /* Known by name: code books, three values, and others. */
    {.name = "IQ2_XXS", .number = 16},
    {.name = "IQ2_XS", .number = 17},
    {.name = "IQ3_XXS", .number = 18},
    {.name = "IQ1_S", .number = 19},
    {.name = "IQ4_NL", .number = 20},
    {.name = "IQ3_S", .number = 21},
    {.name = "IQ2_S", .number = 22},
    {.name = "IQ4_XS", .number = 23},
    {.name = "IQ1_M", .number = 29},
    {.name = "TQ1_0", .number = 34},
    {.name = "TQ2_0", .number = 35},
    {.name = "MXFP4", .number = 39},
};
const int n_gguf_types = ARRAY_SIZE(gguf_types);

const struct gguf_type *gguf_type_find(uint32_t number) {
    for (int i = 0; i < n_gguf_types; i++) {
        if (gguf_types[i].number == number)
            return &gguf_types[i];
    }
    return NULL;
}

bool gguf_unpack(const struct gguf_type *type, const unsigned char *from, size_t n, float *to) {
    bool finite = true;

    for (size_t i = 0; i < n; i += type->block, from += type->bytes)
        type->unpack(from, to + i);
    for (size_t i = 0; i < n; i++)
        finite &= isfinite(to[i]) != 0;
    return finite;
}
