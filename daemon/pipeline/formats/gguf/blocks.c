// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/formats/gguf/blocks.h"

#include "base/cleanup.h"
#include "base/dtype.h"
#include "base/macros.h"
#include "kernels/backend.h"

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
static void pack_q4_0(unsigned char *to, const struct ggml_grid *grid, const uint8_t *codes) {
    put_f16(to, grid->d);
    for (int j = 0; j < 16; j++)
        to[2 + j] =
            (unsigned char)((codes[j] - grid->zero + 8) | (codes[j + 16] - grid->zero + 8) << 4);
}

/* d, qh u32: bit j is the highest of element j, qs[16] as in Q4_0; w = d * (q - 16) */
static void pack_q5_0(unsigned char *to, const struct ggml_grid *grid, const uint8_t *codes) {
    put_f16(to, grid->d);
    for (int j = 0; j < 32; j++) {
        int q = codes[j] - grid->zero + 16;

        to[2 + j / 8] |= (unsigned char)((q >> 4) << j % 8);
        to[6 + j % 16] |= (unsigned char)((q & 15) << (j < 16 ? 0 : 4));
    }
}

/* d, i8 qs[32]; w = d * q */
static void pack_q8_0(unsigned char *to, const struct ggml_grid *grid, const uint8_t *codes) {
    put_f16(to, grid->d);
    for (int j = 0; j < 32; j++)
        to[2 + j] = (unsigned char)(codes[j] - grid->zero);
}

/* d, qs[16]: two bits each; w = d * (q - 1), which with d = -scale reaches from -2 to 1 */
static void pack_q2_0(unsigned char *to, const struct ggml_grid *grid, const uint8_t *codes) {
    put_f16(to, grid->d ^ SIGN_F16);
    for (int j = 0; j < 64; j++)
        to[2 + j / 4] |= (unsigned char)((1 - (codes[j] - grid->zero)) << 2 * (j % 4));
}

/* Of the two bits of Q2_K and Q3_K: element 128 h + 32 j + l has bits 2 j of byte 32 h + l. */
static void put_two_bits(unsigned char *qs, int element, int q) {
    qs[32 * (element / 128) + element % 32] |= (unsigned char)(q << 2 * (element % 128 / 32));
}

/* scales[16] of 16 elements each: scale and minimum, qs[64], d, dmin; w = d * sc * q - dmin * m */
static void pack_q2_k(unsigned char *to, const struct ggml_grid *grid, const uint8_t *codes) {
    for (int i = 0; i < 16; i++)
        to[i] = (unsigned char)(grid->scales[i] | grid->mins[i] << 4);
    for (int i = 0; i < 256; i++)
        put_two_bits(to + 16, i, codes[i]);
    put_f16(to + 80, grid->d);
    put_f16(to + 82, grid->dmin);
}

/* hmask[32], qs[64], scales[12]: 16 of 6 bits, d; w = d * (sc - 32) * (q - (its bit of hmask is
 * set ? 0 : 4)). The low four bits of the scales stand in 8 bytes, the high two in 4. */
static void pack_q3_k(unsigned char *to, const struct ggml_grid *grid, const uint8_t *codes) {
    for (int i = 0; i < 256; i++) {
        int v = codes[i] - grid->zero;

        to[i % 32] |= (unsigned char)((v >= 0) << i / 32);
        put_two_bits(to + 32, i, v & 3);
    }
    for (int i = 0; i < 16; i++) {
        int scale = grid->scales[i] + 32;

        to[96 + i % 8] |= (unsigned char)((scale & 15) << (i < 8 ? 0 : 4));
        to[104 + i % 4] |= (unsigned char)((scale >> 4) << 2 * (i / 4));
    }
    put_f16(to + 108, grid->d);
}

/* d, dmin, scales[12]: 8 scales and 8 minima of 6 bits, qs[128]; w = d * sc * q - dmin * m. The
 * first four of each have a byte of their own, which has the high bits of the others, too. */
static void pack_q4_k(unsigned char *to, const struct ggml_grid *grid, const uint8_t *codes) {
    put_f16(to, grid->d);
    put_f16(to + 2, grid->dmin);
    for (int i = 0; i < 4; i++) {
        int scale = grid->scales[i + 4], min = grid->mins[i + 4];

        to[4 + i] = (unsigned char)(grid->scales[i] | (scale >> 4) << 6);
        to[8 + i] = (unsigned char)(grid->mins[i] | (min >> 4) << 6);
        to[12 + i] = (unsigned char)((scale & 15) | (min & 15) << 4);
    }
    for (int i = 0; i < 256; i++)
        to[16 + 32 * (i / 64) + i % 32] |= (unsigned char)(codes[i] << (i % 64 < 32 ? 0 : 4));
}

/* ---- types ---- */

const struct ggml_type ggml_f32 = {
    .name = "F32", .number = 0, .file_type = 0, .block = 1, .bytes = 4};
const struct ggml_type ggml_bf16 = {
    .name = "BF16", .number = 30, .file_type = 32, .block = 1, .bytes = 2};

static const struct ggml_type q4_0 = {"Q4_0", 2,         2,         32, 18, -8,
                                      7,      UINT8_MAX, pack_q4_0, 0,  0,  false};
static const struct ggml_type q5_0 = {"Q5_0", 6,         8,         32, 22, -16,
                                      15,     UINT8_MAX, pack_q5_0, 0,  0,  false};
static const struct ggml_type q8_0 = {"Q8_0", 8,         7,         32, 34, -128,
                                      127,    UINT8_MAX, pack_q8_0, 0,  0,  false};
static const struct ggml_type q2_0 = {"Q2_0", 42,        41,        64, 18, -2,
                                      1,      UINT8_MAX, pack_q2_0, 0,  0,  false};
static const struct ggml_type q2_k = {"Q2_K", 10, 10, 256, 84, -3, 3, 3, pack_q2_k, 16, 4, false};
static const struct ggml_type q3_k = {"Q3_K", 11,        12,        256, 110, -4,
                                      3,      UINT8_MAX, pack_q3_k, 16,  6,   true};
static const struct ggml_type q4_k = {"Q4_K", 12, 15,        256, 144, -15,
                                      15,     15, pack_q4_k, 32,  6,   false};

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

const struct ggml_type *ggml_k_type_for(int wbits, bool sym, int groupsize, int sub_bits) {
    static const struct {
        int wbits;
        const struct ggml_type *type;
    } k_types[] = {{2, &q2_k}, {3, &q3_k}, {4, &q4_k}};

    for (size_t i = 0; i < ARRAY_SIZE(k_types); i++) {
        const struct ggml_type *type = k_types[i].type;

        if (k_types[i].wbits == wbits && type->sym == sym && type->sub == groupsize &&
            type->sub_bits == sub_bits)
            return type;
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

/* The grid of the block that begins at @column of @row; false: the type does not have it. */
static bool grid_of(const struct ggml_type *type, const struct quantized_matrix *m, int row,
                    int column, struct ggml_grid *grid) {
    size_t at = (size_t)m->g_idx[column] * m->rows + row;
    size_t super = (size_t)(column / GRID_SUPER) * m->rows + row;

    if (!m->d) {
        *grid = (struct ggml_grid){m->scales[at], m->scales[at], m->zeros[at], {}, {}};
        memset(grid->scales, 1, sizeof(grid->scales));
        memset(grid->mins, type->sub_bits && !type->sym ? grid->zero : 0, sizeof(grid->mins));
        return true;
    }
    if (!type->sub_bits || type->sym != !m->dmin || m->n / m->n_groups != type->sub)
        return false;
    *grid = (struct ggml_grid){
        m->d[super], m->dmin ? m->dmin[super] : 0, m->dmin ? 0 : m->zeros[at], {}, {}};
    for (int i = 0; i < type->block / type->sub; i++) {
        grid->scales[i] = (int8_t)f16_to_f32(m->scales[at + (size_t)i * m->rows]);
        grid->mins[i] = m->dmin ? m->zeros[at + (size_t)i * m->rows] : 0;
    }
    return true;
}

static bool fits(const struct ggml_type *type, const struct quantized_matrix *m, int column,
                 const uint8_t *codes, int zero) {
    bool fits = true;

    for (int i = 0; i < type->block; i++)
        fits &= codes[i] - zero >= type->least && codes[i] - zero <= type->most &&
                codes[i] <= type->code_max && (m->d || m->g_idx[column + i] == m->g_idx[column]);
    return fits;
}

static int pack_row(const struct ggml_type *type, const struct quantized_matrix *m, int row,
                    const uint8_t *codes, unsigned char *to) {
    for (int c = 0; c < m->n; c += type->block, to += type->bytes) {
        struct ggml_grid grid;

        if (!grid_of(type, m, row, c, &grid) || !fits(type, m, c, codes + c, grid.zero))
            return -ERANGE;
        type->pack(to, &grid, codes + c);
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
