// SPDX-License-Identifier: Apache-2.0
/*
 * From codes to weights, and between codes and the packed words of a gptq checkpoint: 32 codes
 * of a row, one after the other from the lowest bit, fill wbits words, also where a 3-bit code
 * crosses a word's end.
 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/kgrid.h"

#include <errno.h>
#include <inttypes.h>

#define ROWS 64
#define CODES 32 /* that fill whole words at every width */

struct packing {
    void (*step)(const struct packing *op, uint32_t *words, uint8_t *codes);
    uint32_t *packed;
    uint8_t *codes;
    size_t wbits, rows, n, row_tiles;
};

/* One step of packing: the 32 codes at @codes and their words, a row of words apart. */
static void pack_codes(const struct packing *op, uint32_t *words, uint8_t *codes) {
    uint32_t mask = (1u << op->wbits) - 1;
    uint64_t bits = 0;
    size_t n_bits = 0;

    for (size_t i = 0; i < CODES; i++) {
        bits |= (uint64_t)(codes[i] & mask) << n_bits;
        n_bits += op->wbits;
        if (n_bits >= 32) {
            *words = (uint32_t)bits;
            words += op->rows;
            bits >>= 32;
            n_bits -= 32;
        }
    }
}

static void unpack_codes(const struct packing *op, uint32_t *words, uint8_t *codes) {
    uint32_t mask = (1u << op->wbits) - 1;
    uint64_t bits = 0;
    size_t n_bits = 0;

    for (size_t i = 0; i < CODES; i++) {
        if (n_bits < op->wbits) {
            bits |= (uint64_t)*words << n_bits;
            words += op->rows;
            n_bits += 32;
        }
        codes[i] = (uint8_t)(bits & mask);
        bits >>= op->wbits;
        n_bits -= op->wbits;
    }
}

/* A tile of rows, 32 columns after 32 columns: neighbouring rows fill neighbouring words. */
static void pack_rows(const void *arg, size_t task, int worker) {
    const struct packing *op = arg;
    size_t matrix = task / op->row_tiles, row = task % op->row_tiles * ROWS;
    size_t end = MIN(op->rows, row + ROWS), words_of_row = op->n / CODES * op->wbits;
    uint32_t *packed = op->packed + matrix * words_of_row * op->rows;
    uint8_t *codes = op->codes + matrix * op->rows * op->n;

    (void)worker;
    for (size_t i = 0; i < op->n; i += CODES) {
        for (size_t r = row; r < end; r++)
            op->step(op, packed + i / CODES * op->wbits * op->rows + r, codes + r * op->n + i);
    }
}

static int run_packing(struct backend *b, const char *name, struct packing op, struct span packed,
                       struct span codes, int wbits, int N, int rows, int n) {
    struct cpu *c = cpu_of(b);
    int r;

    if (wbits != 2 && wbits != 3 && wbits != 4 && wbits != 8)
        return cpu_refuse(c, name, "wbits is 2, 3, 4 or 8", wbits);
    if (n < CODES || n % CODES != 0)
        return cpu_refuse(c, name, "n is a multiple of 32", n);
    r = cpu_check(c, name, OPERAND(packed, uint32_t, N, n / 32 * wbits, rows),
                  OPERAND(codes, uint8_t, N, rows, n));
    if (r < 0)
        return r;
    op.packed = (uint32_t *)packed.at;
    op.codes = codes.at;
    op.wbits = (size_t)wbits;
    op.rows = (size_t)rows;
    op.n = (size_t)n;
    op.row_tiles = n_tiles(op.rows, ROWS);
    return cpu_run(c, (size_t)N * op.row_tiles, 0, pack_rows, &op);
}

int cpu_pack(struct backend *b, struct span packed, struct span codes, int wbits, int N, int rows,
             int n) {
    return run_packing(b, "pack", (struct packing){pack_codes}, packed, codes, wbits, N, rows, n);
}

int cpu_unpack(struct backend *b, struct span codes, struct span packed, int wbits, int N, int rows,
               int n) {
    return run_packing(b, "unpack", (struct packing){unpack_codes}, packed, codes, wbits, N, rows,
                       n);
}

struct dequantizing {
    struct cpu *c;
    float *w;
    const uint8_t *codes, *zeros;
    const uint16_t *scales, *d, *dmin; /* d, dmin: NULL where there is none */
    const int32_t *g_idx;
    size_t rows, n, n_groups, n_supers, row_tiles;
};

/* The grid of each group of row @r of matrix @g. */
static void row_grids(const struct dequantizing *op, size_t g, size_t r, float *scale, float *zero,
                      float *min) {
    for (size_t group = 0; group < op->n_groups; group++) {
        size_t at = (g * op->n_groups + group) * op->rows + r;
        size_t super = (g * op->n_supers + group * op->n_supers / op->n_groups) * op->rows + r;

        scale[group] = f16_to_f32(op->scales[at]) * (op->d ? f16_to_f32(op->d[super]) : 1);
        zero[group] = op->dmin ? 0 : (float)op->zeros[at];
        min[group] = op->dmin ? f16_to_f32(op->dmin[super]) * (float)op->zeros[at] : 0;
    }
}

static void dequantize_rows(const void *arg, size_t task, int worker) {
    const struct dequantizing *op = arg;
    size_t g = task / op->row_tiles, row = task % op->row_tiles * ROWS;
    size_t end = MIN(op->rows, row + ROWS), n = op->n;
    const int32_t *g_idx = op->g_idx + g * n;
    float *scale = cpu_scratch(op->c, worker), *zero = scale + op->n_groups;
    float *min = zero + op->n_groups;

    for (size_t r = row; r < end; r++) {
        const uint8_t *codes = op->codes + (g * op->rows + r) * n;
        float *w = op->w + (g * op->rows + r) * n;

        row_grids(op, g, r, scale, zero, min);
        for (size_t i = 0; i < n; i++)
            w[i] = scale[g_idx[i]] * ((float)codes[i] - zero[g_idx[i]]) - min[g_idx[i]];
    }
}

int cpu_dequantize(struct backend *b, struct span w, const struct quantized *q, int n_groups, int G,
                   int rows, int n) {
    struct cpu *c = cpu_of(b);
    struct dequantizing op = {
        .c = c,
        .w = (float *)w.at,
        .codes = q->codes.at,
        .zeros = q->zeros.at,
        .scales = (uint16_t *)q->scales.at,
        .d = (uint16_t *)q->d.at,
        .dmin = (uint16_t *)q->dmin.at,
        .g_idx = (int32_t *)q->g_idx.at,
        .rows = (size_t)rows,
        .n = (size_t)n,
        .n_groups = (size_t)n_groups,
        .n_supers = q->d.size > 0 ? (size_t)n / GRID_SUPER : 0,
        .row_tiles = n_tiles((size_t)rows, ROWS),
    };
    int r = cpu_check(
        c, "dequantize", OPERAND(w, float, G, rows, n), OPERAND(q->codes, uint8_t, G, rows, n),
        OPERAND(q->scales, uint16_t, G, n_groups, rows),
        OPERAND(q->zeros, uint8_t, G, n_groups, rows), OPERAND(q->g_idx, int32_t, G, n));

    if (r == 0 && q->d.size > 0)
        r = kgrid_check_units(c, "dequantize", q, G, rows, n);
    if (r == 0 && q->d.size > 0 && (n % n_groups || GRID_SUPER % (n / n_groups)))
        r = cpu_refuse(c, "dequantize", "groups are parts of super-blocks", n_groups);
    if (r == 0)
        r = cpu_check_indices(c, "dequantize", "g_idx", op.g_idx, (size_t)G * op.n, n_groups);
    if (r < 0)
        return r;
    return cpu_run(c, (size_t)G * op.row_tiles, op.n_groups * 3 * sizeof(float), dequantize_rows,
                   &op);
}
