// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/formats/gguf/blocks.h"

#include "base/cleanup.h"
#include "base/macros.h"

#include <errno.h>
#include <string.h>

#define SIGN_F16 0x8000
#define ROWS 16 /* that are unpacked at once: their words share a cache line */

static void put_f16(unsigned char *to, uint16_t value) {
    to[0] = (unsigned char)value;
    to[1] = (unsigned char)(value >> 8);
}

/* ---- blocks; v = code - zero ---- */

/* d, qs[16]: byte j has elements j and j + 16; w = d * (q - 8) */
static void pack_q4_0(unsigned char *to, uint16_t scale, const uint8_t *codes, int zero) {
    put_f16(to, scale);
    for (int j = 0; j < 16; j++)
        to[2 + j] = (unsigned char)((codes[j] - zero + 8) | (codes[j + 16] - zero + 8) << 4);
}

/* d, qh u32: bit j is the highest of element j, qs[16] as in Q4_0; w = d * (q - 16) */
static void pack_q5_0(unsigned char *to, uint16_t scale, const uint8_t *codes, int zero) {
    put_f16(to, scale);
    for (int j = 0; j < 32; j++) {
        int q = codes[j] - zero + 16;

        to[2 + j / 8] |= (unsigned char)((q >> 4) << j % 8);
        to[6 + j % 16] |= (unsigned char)((q & 15) << (j < 16 ? 0 : 4));
    }
}

/* d, i8 qs[32]; w = d * q */
static void pack_q8_0(unsigned char *to, uint16_t scale, const uint8_t *codes, int zero) {
    put_f16(to, scale);
    for (int j = 0; j < 32; j++)
        to[2 + j] = (unsigned char)(codes[j] - zero);
}

/* d, qs[16]: two bits each; w = d * (q - 1), which with d = -scale reaches from -2 to 1 */
static void pack_q2_0(unsigned char *to, uint16_t scale, const uint8_t *codes, int zero) {
    put_f16(to, scale ^ SIGN_F16);
    for (int j = 0; j < 64; j++)
        to[2 + j / 4] |= (unsigned char)((1 - (codes[j] - zero)) << 2 * (j % 4));
}

/* Of the two bits of Q2_K and Q3_K: element 128 h + 32 j + l has bits 2 j of byte 32 h + l. */
static void put_two_bits(unsigned char *qs, int element, int q) {
    qs[32 * (element / 128) + element % 32] |= (unsigned char)(q << 2 * (element % 128 / 32));
}

/* scales[16] of 16 elements each: scale and minimum, qs[64], d, dmin; w = d * sc * q - dmin * m */
static void pack_q2_k(unsigned char *to, uint16_t scale, const uint8_t *codes, int zero) {
    memset(to, 1 | zero << 4, 16);
    for (int i = 0; i < 256; i++)
        put_two_bits(to + 16, i, codes[i]);
    put_f16(to + 80, scale);
    put_f16(to + 82, scale);
}

/* hmask[32], qs[64], scales[12]: 16 of 6 bits, d; w = d * (sc - 32) * (q - (its bit of hmask is
 * set ? 0 : 4)). All scales are 33: the low four bits stand in 8 bytes, the high two in 4. */
static void pack_q3_k(unsigned char *to, uint16_t scale, const uint8_t *codes, int zero) {
    for (int i = 0; i < 256; i++) {
        int v = codes[i] - zero;

        to[i % 32] |= (unsigned char)((v >= 0) << i / 32);
        put_two_bits(to + 32, i, v & 3);
    }
    memset(to + 96, 0x11, 8);
    memset(to + 104, 0xaa, 4);
    put_f16(to + 108, scale);
}

/* d, dmin, scales[12]: 8 scales and 8 minima of 6 bits, qs[128]; w = d * sc * q - dmin * m. The
 * first four of each have a byte of their own, the others share one. */
static void pack_q4_k(unsigned char *to, uint16_t scale, const uint8_t *codes, int zero) {
    put_f16(to, scale);
    put_f16(to + 2, scale);
    memset(to + 4, 1, 4);
    memset(to + 8, zero, 4);
    memset(to + 12, 1 | zero << 4, 4);
    for (int i = 0; i < 256; i++)
        to[16 + 32 * (i / 64) + i % 32] |= (unsigned char)(codes[i] << (i % 64 < 32 ? 0 : 4));
}

/* ---- types ---- */

const struct ggml_type ggml_f32 = {
    .name = "F32", .number = 0, .file_type = 0, .block = 1, .bytes = 4};
const struct ggml_type ggml_bf16 = {
    .name = "BF16", .number = 30, .file_type = 32, .block = 1, .bytes = 2};

static const struct ggml_type q4_0 = {"Q4_0", 2, 2, 32, 18, -8, 7, UINT8_MAX, pack_q4_0};
static const struct ggml_type q5_0 = {"Q5_0", 6, 8, 32, 22, -16, 15, UINT8_MAX, pack_q5_0};
static const struct ggml_type q8_0 = {"Q8_0", 8, 7, 32, 34, -128, 127, UINT8_MAX, pack_q8_0};
static const struct ggml_type q2_0 = {"Q2_0", 42, 41, 64, 18, -2, 1, UINT8_MAX, pack_q2_0};
static const struct ggml_type q2_k = {"Q2_K", 10, 10, 256, 84, -3, 3, 3, pack_q2_k};
static const struct ggml_type q3_k = {"Q3_K", 11, 12, 256, 110, -4, 3, UINT8_MAX, pack_q3_k};
static const struct ggml_type q4_k = {"Q4_K", 12, 15, 256, 144, -15, 15, 15, pack_q4_k};

/* The first row that fits is the smallest type. */
static const struct {
    int wbits;
    bool sym;
    int columns; /* of a grid: a multiple of this */
    const struct ggml_type *type;
} types[] = {
    {2, true, 64, &q2_0},   {2, true, 32, &q4_0},  {2, false, 256, &q2_k}, {2, false, 32, &q4_0},
    {3, true, 256, &q3_k},  {3, true, 32, &q4_0},  {3, false, 32, &q4_0},  {4, true, 32, &q4_0},
    {4, false, 256, &q4_k}, {4, false, 32, &q5_0}, {8, true, 32, &q8_0},
};

const struct ggml_type *ggml_type_for(int wbits, bool sym, int columns) {
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        if (types[i].wbits == wbits && types[i].sym == sym && columns % types[i].columns == 0)
            return types[i].type;
    }
    return NULL;
}

/* ---- matrices ---- */

/* 32 codes of @wbits each from @words. */
static void unpack_codes(const uint32_t *words, int wbits, uint8_t *codes) {
    for (int i = 0; i < 32; i++) {
        int word = i * wbits / 32, bit = i * wbits % 32;
        uint32_t code = words[word] >> bit;

        if (bit + wbits > 32)
            code |= words[word + 1] << (32 - bit);
        codes[i] = (uint8_t)(code & ((1u << wbits) - 1));
    }
}

/* Rows @row ... @row + @n_rows - 1, at most ROWS, to @codes [n_rows, n]. */
static void unpack_rows(const struct quantized_matrix *m, int row, int n_rows, uint8_t *codes) {
    const unsigned char *all = m->words;

    for (int c = 0; c < m->n; c += 32) {
        size_t first = (size_t)c * m->wbits / 32;

        for (int r = 0; r < n_rows; r++) {
            uint32_t words[8];

            for (int w = 0; w < m->wbits; w++)
                memcpy(&words[w], all + ((first + w) * m->rows + row + r) * sizeof(*words),
                       sizeof(*words));
            unpack_codes(words, m->wbits, codes + (size_t)r * m->n + c);
        }
    }
}

static bool fits(const struct ggml_type *type, const struct quantized_matrix *m, int column,
                 const uint8_t *codes, int zero) {
    bool fits = true;

    for (int i = 0; i < type->block; i++)
        fits &= codes[i] - zero >= type->least && codes[i] - zero <= type->most &&
                codes[i] <= type->code_max && m->g_idx[column + i] == m->g_idx[column];
    return fits;
}

static int pack_row(const struct ggml_type *type, const struct quantized_matrix *m, int row,
                    const uint8_t *codes, unsigned char *to) {
    for (int c = 0; c < m->n; c += type->block, to += type->bytes) {
        size_t grid = (size_t)m->g_idx[c] * m->rows + row;

        if (!fits(type, m, c, codes + c, m->zeros[grid]))
            return -ERANGE;
        type->pack(to, m->scales[grid], codes + c, m->zeros[grid]);
    }
    return 0;
}

int ggml_pack(const struct ggml_type *type, const struct quantized_matrix *matrix,
              unsigned char *to) {
    cleanup(freep) uint8_t *codes = malloc((size_t)ROWS * matrix->n);
    size_t row_bytes = ggml_row_bytes(type, matrix->n);
    int r = 0;

    if (!codes)
        return -ENOMEM;
    for (int row = 0; row < matrix->rows && !r; row++) {
        if (row % ROWS == 0)
            unpack_rows(matrix, row, MIN(ROWS, matrix->rows - row), codes);
        r = pack_row(type, matrix, row, codes + (size_t)(row % ROWS) * matrix->n,
                     to + row * row_bytes);
    }
    return r;
}
