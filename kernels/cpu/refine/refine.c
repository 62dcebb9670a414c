// SPDX-License-Identifier: Apache-2.0
/*
 * refine(): coordinate descent on codes and least squares on scales, GRID_ROWS rows of one matrix
 * at a time. A tile stands column by column in the order of a sweep. `square` becomes H: damped,
 * both triangles, in that order. Within a block of columns every change reaches the gradients of
 * the block at once; those of all columns, by one sgemm when the block is done.
 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/kgrid.h"
#include "kernels/cpu/refine/scales.h"
#include "kernels/cpu/vector.h"

#include <cblas.h>
#include <errno.h>
#include <string.h>

#define BLOCK 128
#define ROWS GRID_ROWS

struct refine {
    struct cpu *c;
    const struct refinement *r;
    const float *w, *h, *d; /* d: NULL for none */
    const int32_t *perm, *g_idx;
    float *square;
    size_t rows, n, groupsize, n_groups, row_tiles;
    size_t n_supers; /* of a K grid, else 0 */
};

/* What a thread needs for one tile. */
struct tile {
    size_t g, row, n_rows;
    const int32_t *perm;
    const float *square;
    float *w;                /* [n, ROWS] */
    float *gradient;         /* [n, ROWS]: (q - w) H - w d */
    float *drift;            /* [n, ROWS]: w d; NULL for none */
    float *e;                /* [n, ROWS]: q - w; and a product */
    float *changes;          /* [BLOCK, ROWS] of q */
    float *panel;            /* [BLOCK, n]: rows of H */
    int32_t *groups;         /* [n]: of each column */
    int32_t *members;        /* [n]: columns, group by group */
    struct grid_rows *grids; /* [n_groups] */
    struct scales scales;
    uint8_t *codes; /* [n, ROWS] */
};

/* -------- memory -------- */

static size_t tile_size(const struct refine *op) {
    size_t columns = op->n * ROWS * (3 + (op->d ? 1 : 0)) + BLOCK * (ROWS + op->n);

    return (columns + 2 * op->n + scales_floats(op->n_groups)) * sizeof(float) +
           op->n_groups * sizeof(struct grid_rows) + op->n * ROWS;
}

static struct tile tile_of(const struct refine *op, size_t task, int worker) {
    size_t g = task / op->row_tiles, row = task % op->row_tiles * ROWS, column = op->n * ROWS;
    struct tile t = {
        .g = g,
        .row = row,
        .n_rows = MIN(ROWS, op->rows - row),
        .perm = op->perm + g * op->n,
        .square = op->square + g * op->n * op->n,
        .w = cpu_scratch(op->c, worker),
    };

    t.gradient = t.w + column;
    t.e = t.gradient + column;
    t.changes = t.e + column;
    t.panel = t.changes + BLOCK * ROWS;
    t.groups = (int32_t *)(t.panel + BLOCK * op->n);
    t.members = t.groups + op->n;
    t.grids = (struct grid_rows *)(t.members + op->n);
    t.drift = (float *)(t.grids + op->n_groups);
    t.scales = scales_of(t.drift + (op->d ? column : 0), op->n_groups);
    t.codes = (uint8_t *)(t.drift + (op->d ? column : 0) + scales_floats(op->n_groups));
    if (!op->d)
        t.drift = NULL;
    return t;
}

static void load_grids(const struct refine *op, const struct tile *t) {
    const struct quantized *q = &op->r->q;
    const uint16_t *scales = (uint16_t *)q->scales.at, *d = (uint16_t *)q->d.at;
    const uint16_t *dmin = (uint16_t *)q->dmin.at;

    for (size_t group = 0; group < op->n_groups; group++) {
        size_t grid = (t->g * op->n_groups + group) * op->rows + t->row;
        size_t super =
            (t->g * op->n_supers + group * op->n_supers / op->n_groups) * op->rows + t->row;

        for (size_t r = 0; r < t->n_rows; r++) {
            float unit = op->n_supers ? f16_to_f32(d[super + r]) : 1;
            float min_unit = dmin ? f16_to_f32(dmin[super + r]) : 0;

            kgrid_row(&t->grids[group], r, unit, dmin ? &min_unit : NULL,
                      f16_to_f32(scales[grid + r]), q->zeros.at[grid + r]);
        }
    }
}

/* Rows that the matrix does not have are zeros on grids of zero. */
static void load_tile(const struct refine *op, const struct tile *t) {
    const struct quantized *q = &op->r->q;
    size_t at = (t->g * op->rows + t->row) * op->n;

    if (t->n_rows < ROWS) {
        memset(t->w, 0, op->n * ROWS * sizeof(float));
        memset(t->codes, 0, op->n * ROWS);
        memset(t->grids, 0, op->n_groups * sizeof(*t->grids));
    }
    for (size_t r = 0; r < t->n_rows; r++) {
        for (size_t i = 0; i < op->n; i++) {
            size_t column = at + r * op->n + (size_t)t->perm[i];

            t->w[i * ROWS + r] = op->w[column];
            t->codes[i * ROWS + r] = q->codes.at[column];
        }
    }
    load_grids(op, t);
}

/* The group of each column, and the columns of each group. */
static void load_groups(const struct refine *op, const struct tile *t) {
    const int32_t *g_idx = op->g_idx + t->g * op->n;
    size_t n = 0;

    for (size_t i = 0; i < op->n; i++)
        t->groups[i] = g_idx[t->perm[i]];
    for (size_t group = 0; group < op->n_groups; group++) {
        for (size_t i = 0; i < op->n; i++) {
            if ((size_t)t->groups[i] == group)
                t->members[n++] = (int32_t)i;
        }
    }
}

/* w d, in the order of a sweep. */
static void load_drift(const struct refine *op, const struct tile *t) {
    const float *d = op->d + t->g * op->n * op->n;
    size_t n = op->n;

    for (size_t i = 0; i < n; i++)
        memcpy(t->e + (size_t)t->perm[i] * ROWS, t->w + i * ROWS, ROWS * sizeof(float));
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)n, ROWS, (int)n, 1.0f, d, (int)n,
                t->e, ROWS, 0, t->gradient, ROWS);
    for (size_t i = 0; i < n; i++)
        memcpy(t->drift + i * ROWS, t->gradient + (size_t)t->perm[i] * ROWS, ROWS * sizeof(float));
}

/* -------- codes -------- */

static float weight_of(const struct tile *t, size_t i, size_t r) {
    const struct grid_rows *grid = &t->grids[t->groups[i]];

    return grid->scale[r] * ((float)t->codes[i * ROWS + r] - grid->zero[r]) - grid->min[r];
}

/* The gradient of the tile as it is, anew. */
static void find_gradient(const struct refine *op, const struct tile *t) {
    size_t n = op->n;

    for (size_t i = 0; i < n; i++) {
        for (size_t r = 0; r < ROWS; r++)
            t->e[i * ROWS + r] = weight_of(t, i, r) - t->w[i * ROWS + r];
    }
    if (t->drift)
        memcpy(t->gradient, t->drift, n * ROWS * sizeof(float));
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n, ROWS, (int)n, 1.0f, t->square,
                (int)n, t->e, ROWS, t->drift ? -1.0f : 0, t->gradient, ROWS);
}

/* The objective of each row, by the gradient and e of find_gradient(). */
static void find_objective(const struct refine *op, const struct tile *t, double *ret) {
    for (size_t r = 0; r < ROWS; r++)
        ret[r] = 0;
    for (size_t i = 0; i < op->n * ROWS; i++)
        ret[i % ROWS] += (double)t->e[i] * ((double)t->gradient[i] - (t->drift ? t->drift[i] : 0));
}

/* gradients [n, ROWS] += change [ROWS] of the column with row @h of H. */
vector_clones static void spread_change(float *restrict gradients, const float *restrict change,
                                        const float *h, size_t n) {
    for (size_t i = 0; i < n; i++) {
        float f = h[i];

        for (int r = 0; r < ROWS; r++)
            gradients[i * ROWS + r] += change[r] * f;
    }
}

/* Column @i, with its gradient, goes to the point of its grid nearest to the least objective. */
static void move_column(const struct refine *op, const struct tile *t, size_t i,
                        const float *gradient, float *change) {
    float diagonal = t->square[i * op->n + i], next[ROWS];

    for (size_t r = 0; r < ROWS; r++) {
        change[r] = weight_of(t, i, r);
        next[r] = change[r] - gradient[r] / diagonal;
    }
    grid_quantize(&t->grids[t->groups[i]], op->r->wbits, next, next, t->codes + i * ROWS);
    for (size_t r = 0; r < ROWS; r++)
        change[r] = next[r] - change[r];
}

static void sweep_codes(const struct refine *op, const struct tile *t) {
    size_t n = op->n, width;
    float *local = t->panel;

    for (size_t first = 0; first < n; first += width) {
        width = MIN(BLOCK, n - first);
        memcpy(local, t->gradient + first * ROWS, width * ROWS * sizeof(float));
        for (size_t k = 0; k < width; k++) {
            size_t i = first + k;

            move_column(op, t, i, local + k * ROWS, t->changes + k * ROWS);
            spread_change(local + (k + 1) * ROWS, t->changes + k * ROWS, t->square + i * n + i + 1,
                          width - k - 1);
        }
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n, ROWS, (int)width, 1.0f,
                    t->square + first, (int)n, t->changes, ROWS, 1.0f, t->gradient, ROWS);
    }
}

/* -------- scales -------- */

/* Code minus zero. */
static void steps_of(const struct tile *t, size_t i, float *steps) {
    const struct grid_rows *grid = &t->grids[t->groups[i]];

    for (size_t r = 0; r < ROWS; r++)
        steps[r] = (float)t->codes[i * ROWS + r] - grid->zero[r];
}

/* t->e [n, ROWS] = H c of the columns c of one group. */
static void group_product(const struct refine *op, const struct tile *t, size_t group) {
    const int32_t *members = t->members + group * op->groupsize;
    size_t n = op->n, width;

    for (size_t first = 0; first < op->groupsize; first += width) {
        width = MIN(BLOCK, op->groupsize - first);
        for (size_t k = 0; k < width; k++) {
            size_t i = (size_t)members[first + k];

            memcpy(t->panel + k * n, t->square + i * n, n * sizeof(float));
            steps_of(t, i, t->changes + k * ROWS);
        }
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)n, ROWS, (int)width, 1.0f,
                    t->panel, (int)n, t->changes, ROWS, first ? 1.0f : 0, t->e, ROWS);
    }
}

/* The system for the scales, which scales_solve() solves. */
static void find_system(const struct refine *op, const struct tile *t) {
    float steps[ROWS];

    scales_clear(&t->scales);
    for (size_t i = 0; i < op->n; i++) {
        steps_of(t, i, steps);
        scales_add_slope(&t->scales, (size_t)t->groups[i], steps, t->gradient + i * ROWS);
    }
    for (size_t group = 0; group < op->n_groups; group++) {
        group_product(op, t, group);
        for (size_t i = 0; i < op->n; i++) {
            if ((size_t)t->groups[i] > group)
                continue;
            steps_of(t, i, steps);
            scales_add(&t->scales, group, (size_t)t->groups[i], steps, t->e + i * ROWS);
        }
    }
}

/* -------- results -------- */

/* Rows whose objective fell. */
static void store_rows(const struct refine *op, const struct tile *t, const double *before,
                       const double *after) {
    const struct refinement *s = op->r;
    size_t first = t->g * op->rows + t->row;

    for (size_t r = 0; r < t->n_rows; r++) {
        size_t row = first + r;
        bool better = after[r] < before[r];

        ((float *)s->before.at)[row] = (float)before[r];
        ((float *)s->after.at)[row] = (float)(better ? after[r] : before[r]);
        if (!better)
            continue;
        for (size_t i = 0; i < op->n; i++) {
            size_t at = row * op->n + (size_t)t->perm[i];

            s->q.codes.at[at] = t->codes[i * ROWS + r];
            ((float *)s->dq.at)[at] = weight_of(t, i, r);
        }
        for (size_t group = 0; group < op->n_groups && op->n_supers == 0; group++)
            ((uint16_t *)s->q.scales.at)[(t->g * op->n_groups + group) * op->rows + t->row + r] =
                f32_to_f16(t->grids[group].scale[r]);
    }
}

static void refine_tile(const void *arg, size_t task, int worker) {
    const struct refine *op = arg;
    struct tile t = tile_of(op, task, worker);
    double before[ROWS], after[ROWS];

    load_tile(op, &t);
    load_groups(op, &t);
    if (t.drift)
        load_drift(op, &t);
    find_gradient(op, &t);
    find_objective(op, &t, before);
    for (int round = 0; round < op->r->rounds; round++) {
        for (int i = 0; i < op->r->sweeps; i++)
            sweep_codes(op, &t);
        if (op->n_supers == 0) {
            find_system(op, &t);
            scales_solve(&t.scales, t.grids);
        }
        find_gradient(op, &t);
    }
    find_objective(op, &t, after);
    store_rows(op, &t, before, after);
}

/* ROWS rows of H: damped, both triangles, in the order of a sweep. */
static void square_tile(const void *arg, size_t task, int worker) {
    const struct refine *op = arg;
    size_t n = op->n, tiles = n_tiles(n, ROWS), g = task / tiles, first = task % tiles * ROWS;
    const float *h = op->h + g * n * n;
    const int32_t *perm = op->perm + g * n;
    float damp = cpu_damping(h, n, op->r->damp[g]);

    (void)worker;
    for (size_t i = first; i < MIN(first + ROWS, n); i++) {
        float *row = op->square + (g * n + i) * n;
        size_t p = (size_t)perm[i];

        for (size_t j = 0; j < n; j++) {
            size_t q = (size_t)perm[j];

            row[j] = h[MAX(p, q) * n + MIN(p, q)];
        }
        row[i] = cpu_alive(row[i]) + damp;
    }
}

/* -------- the op -------- */

size_t cpu_refine_scratch(struct backend *b, const struct refinement *r, int G, int rows, int n) {
    (void)b;
    (void)r;
    (void)G;
    (void)rows;
    (void)n;
    return 0;
}

static int check(struct cpu *c, const struct refinement *r, int G, int rows, int n) {
    int n_groups, failed;

    if (r->wbits != 2 && r->wbits != 3 && r->wbits != 4 && r->wbits != 8)
        return cpu_refuse(c, "refine", "wbits is 2, 3, 4 or 8", r->wbits);
    if (n < 1 || r->groupsize < 1 || n % r->groupsize != 0)
        return cpu_refuse(c, "refine", "groupsize divides n", r->groupsize);
    if (r->sweeps < 0 || r->rounds < 0)
        return cpu_refuse(c, "refine", "sweeps and rounds are counts", MIN(r->sweeps, r->rounds));
    n_groups = n / r->groupsize;
    failed = cpu_check(c, "refine", OPERAND(r->dq, float, G, rows, n),
                       OPERAND(r->w, float, G, rows, n), OPERAND(r->q.codes, uint8_t, G, rows, n),
                       OPERAND(r->q.scales, uint16_t, G, n_groups, rows),
                       OPERAND(r->q.zeros, uint8_t, G, n_groups, rows),
                       OPERAND(r->q.g_idx, int32_t, G, n), OPERAND(r->h, float, G, n, n),
                       OPERAND(r->square, float, G, n, n), OPERAND(r->perm, int32_t, G, n),
                       OPERAND(r->before, float, G, rows), OPERAND(r->after, float, G, rows));
    if (!failed && r->q.d.size > 0)
        failed = kgrid_check_units(c, "refine", &r->q, G, rows, n);
    if (!failed && r->d.size > 0)
        failed = cpu_check(c, "refine", OPERAND(r->d, float, G, n, n));
    if (!failed)
        failed =
            cpu_check_indices(c, "refine", "perm", (int32_t *)r->perm.at, (size_t)G * (size_t)n, n);
    return failed ? failed
                  : cpu_check_indices(c, "refine", "g_idx", (int32_t *)r->q.g_idx.at,
                                      (size_t)G * (size_t)n, n_groups);
}

int cpu_refine(struct backend *b, const struct refinement *r, int G, int rows, int n,
               struct span scratch) {
    struct cpu *c = cpu_of(b);
    struct refine op = {
        .c = c,
        .r = r,
        .w = (float *)r->w.at,
        .h = (float *)r->h.at,
        .d = r->d.size > 0 ? (float *)r->d.at : NULL,
        .perm = (int32_t *)r->perm.at,
        .g_idx = (int32_t *)r->q.g_idx.at,
        .square = (float *)r->square.at,
        .rows = (size_t)rows,
        .n = (size_t)n,
    };
    int failed = check(c, r, G, rows, n);

    (void)scratch;
    if (failed)
        return failed;
    op.groupsize = (size_t)r->groupsize;
    op.n_groups = op.n / op.groupsize;
    op.n_supers = r->q.d.size > 0 ? op.n / GRID_SUPER : 0;
    op.row_tiles = n_tiles(op.rows, ROWS);
    failed = cpu_run(c, (size_t)G * n_tiles(op.n, ROWS), 0, square_tile, &op);
    return failed ? failed : cpu_run(c, (size_t)G * op.row_tiles, tile_size(&op), refine_tile, &op);
}
