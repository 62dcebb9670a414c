// SPDX-License-Identifier: Apache-2.0
/* Hessians: h += x'x by tiles of the lower triangle, and the order of columns by its diagonal. */
#include "kernels/cpu/cpu.h"

#include <cblas.h>
#include <errno.h>
#include <stdlib.h>

#define TILE 256

struct hessian {
    float *h;
    const float *x;
    const int32_t *offsets;
    size_t n, tiles; /* tiles: of one triangle */
};

static void hessian_tile(const void *arg, size_t task, int worker) {
    const struct hessian *op = arg;
    size_t g = task / op->tiles, tile = task % op->tiles, i = 0, j, n = op->n;
    int rows = op->offsets[g + 1] - op->offsets[g], ld = (int)n, m, k;
    const float *x = op->x + (size_t)op->offsets[g] * n;
    float *h = op->h + g * n * n;

    (void)worker;
    if (rows == 0)
        return;
    while (tile > i) /* row i of the triangle has i + 1 tiles */
        tile -= ++i;
    i *= TILE;
    j = tile * TILE;
    m = (int)MIN(TILE, n - i);
    k = (int)MIN(TILE, n - j);
    h += i * n + j;
    if (i == j)
        cblas_ssyrk(CblasRowMajor, CblasLower, CblasTrans, m, rows, 1.0f, x + i, ld, 1.0f, h, ld);
    else
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, m, k, rows, 1.0f, x + i, ld, x + j, ld,
                    1.0f, h, ld);
}

int cpu_hessian_add(struct backend *b, struct span h, struct span x, const int32_t *offsets, int G,
                    int n) {
    struct cpu *c = cpu_of(b);
    struct hessian op = {(float *)h.at, (float *)x.at, offsets, (size_t)n, 0};
    size_t side = n_tiles((size_t)n, TILE);
    int r = cpu_check_offsets(c, "hessian_add", offsets, G);

    if (r < 0)
        return r;
    r = cpu_check(c, "hessian_add", OPERAND(h, float, G, n, n));
    if (r < 0 || offsets[G] == offsets[0])
        return r;
    r = cpu_check(c, "hessian_add", OPERAND(x, float, offsets[G], n));
    if (r < 0)
        return r;
    op.tiles = side * (side + 1) / 2;
    return cpu_run(c, (size_t)G * op.tiles, 0, hessian_tile, &op);
}

struct ordering {
    int32_t *perm;
    const float *h;
    size_t n;
    bool act_order;
};

struct diagonal {
    const float *at;
    size_t stride;
};

static float diagonal_of(const struct diagonal *d, int32_t i) {
    float v = d->at[(size_t)i * d->stride];

    return v == v ? v : -1; /* a NaN has a place too: an order must be total */
}

static int compare_columns(const void *a, const void *z, void *arg) {
    int32_t i = *(const int32_t *)a, j = *(const int32_t *)z;
    float x = diagonal_of(arg, i), y = diagonal_of(arg, j);

    if (x != y)
        return x > y ? -1 : 1;
    return i < j ? -1 : i > j;
}

static void order_columns(const void *arg, size_t g, int worker) {
    const struct ordering *op = arg;
    int32_t *perm = op->perm + g * op->n;
    struct diagonal diagonal = {op->h + g * op->n * op->n, op->n + 1};

    (void)worker;
    for (size_t i = 0; i < op->n; i++)
        perm[i] = (int32_t)i;
    if (op->act_order)
        qsort_r(perm, op->n, sizeof(*perm), compare_columns, &diagonal);
}

int cpu_hessian_order(struct backend *b, struct span perm, struct span h, int G, int n,
                      bool act_order) {
    struct cpu *c = cpu_of(b);
    struct ordering op = {(int32_t *)perm.at, (float *)h.at, (size_t)n, act_order};
    int r = cpu_check(c, "hessian_order", OPERAND(perm, int32_t, G, n), OPERAND(h, float, G, n, n));

    return r < 0 ? r : cpu_run(c, (size_t)G, 0, order_columns, &op);
}
