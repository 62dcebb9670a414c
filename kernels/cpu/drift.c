// SPDX-License-Identifier: Apache-2.0
/*
 * How the inputs of a quantized model drift (arXiv 2504.02692): d += (x0 - x)'x by tiles of the
 * square, and the correction p that gptq() makes for it, by rows, which do not know each other.
 */
#include "kernels/cpu/cpu.h"

#include <cblas.h>
#include <string.h>

#define TILE 256
#define CROSS_ROWS 512 /* of a difference that is at hand at a time */
#define ROWS 64        /* of p that are made together */

/* ---- d ---- */

struct cross {
    struct cpu *c;
    float *d;
    const float *x0, *x;
    const int32_t *offsets;
    size_t n, side; /* side: tiles of a row */
};

/* diff [rows, columns] = x0 - x, whose rows are @ld apart */
static void difference(float *diff, const float *x0, const float *x, size_t rows, size_t columns,
                       size_t ld) {
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < columns; j++)
            diff[i * columns + j] = x0[i * ld + j] - x[i * ld + j];
    }
}

static void cross_tile(const void *arg, size_t task, int worker) {
    const struct cross *op = arg;
    size_t tile = task % (op->side * op->side), g = task / (op->side * op->side), n = op->n;
    size_t i = tile / op->side * TILE, j = tile % op->side * TILE;
    size_t m = MIN(TILE, n - i), k = MIN(TILE, n - j);
    float *diff = cpu_scratch(op->c, worker), *d = op->d + (g * n + i) * n + j;

    for (size_t row = (size_t)op->offsets[g], end = (size_t)op->offsets[g + 1]; row < end;
         row += CROSS_ROWS) {
        size_t rows = MIN(CROSS_ROWS, end - row);

        difference(diff, op->x0 + row * n + i, op->x + row * n + i, rows, m, n);
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)m, (int)k, (int)rows, 1.0f, diff,
                    (int)m, op->x + row * n + j, (int)n, 1.0f, d, (int)n);
    }
}

int cpu_cross_add(struct backend *b, struct span d, struct span x0, struct span x,
                  const int32_t *offsets, int G, int n) {
    struct cpu *c = cpu_of(b);
    struct cross op = {c,       (float *)d.at, (float *)x0.at,          (float *)x.at,
                       offsets, (size_t)n,     n_tiles((size_t)n, TILE)};
    int r = cpu_check_offsets(c, "cross_add", offsets, G);

    if (r == 0)
        r = cpu_check(c, "cross_add", OPERAND(d, float, G, n, n));
    if (r < 0 || offsets[G] == offsets[0])
        return r;
    r = cpu_check(c, "cross_add", OPERAND(x0, float, offsets[G], n),
                  OPERAND(x, float, offsets[G], n));
    return r < 0 ? r
                 : cpu_run(c, (size_t)G * op.side * op.side, CROSS_ROWS * TILE * sizeof(float),
                           cross_tile, &op);
}

/* ---- p ---- */

struct correction {
    float *p;
    const float *d, *u;
    const int32_t *perm;
    float alpha;
    size_t n, tiles; /* tiles: of rows */
};

/* Row @row of the permuted d from its column @from on: what lies before is not needed. */
static void load_row(const struct correction *op, float *p, const float *d, const int32_t *perm,
                     size_t row, size_t from) {
    const float *d_row = d + (size_t)perm[row] * op->n;

    for (size_t j = from; j < op->n; j++)
        p[j] = d_row[perm[j]];
}

/* In place: the permuted d, times u', without its lower triangle, times u. */
static void correct_rows(const void *arg, size_t task, int worker) {
    const struct correction *op = arg;
    size_t g = task / op->tiles, first = task % op->tiles * ROWS, n = op->n;
    int rows = (int)MIN(ROWS, n - first), columns = (int)(n - first), ld = (int)n;
    const float *u = op->u + (g * n + first) * n + first;
    float *p = op->p + (g * n + first) * n;

    (void)worker;
    for (size_t i = 0; i < (size_t)rows; i++)
        load_row(op, p + i * n, op->d + g * n * n, op->perm + g * n, first + i, first);
    cblas_strmm(CblasRowMajor, CblasRight, CblasUpper, CblasTrans, CblasNonUnit, rows, columns,
                op->alpha, u, ld, p + first, ld);
    for (size_t i = 0; i < (size_t)rows; i++)
        memset(p + i * n + first, 0, (i + 1) * sizeof(float));
    cblas_strmm(CblasRowMajor, CblasRight, CblasUpper, CblasNoTrans, CblasNonUnit, rows, columns,
                1.0f, u, ld, p + first, ld);
}

size_t cpu_drift_scratch(struct backend *b, int G, int n) {
    (void)b;
    (void)G;
    (void)n;
    return 0;
}

int cpu_drift_correction(struct backend *b, struct span p, struct span d, struct span u,
                         struct span perm, float alpha, int G, int n, struct span scratch) {
    struct cpu *c = cpu_of(b);
    struct correction op = {(float *)p.at,           (float *)d.at, (float *)u.at,
                            (int32_t *)perm.at,      alpha,         (size_t)n,
                            n_tiles((size_t)n, ROWS)};
    int r = cpu_check(c, "drift_correction", OPERAND(p, float, G, n, n), OPERAND(d, float, G, n, n),
                      OPERAND(u, float, G, n, n), OPERAND(perm, int32_t, G, n));

    (void)scratch;
    if (r == 0)
        r = cpu_check_indices(c, "drift_correction", "perm", op.perm, (size_t)G * op.n, n);
    return r < 0 ? r : cpu_run(c, (size_t)G * op.tiles, 0, correct_rows, &op);
}
