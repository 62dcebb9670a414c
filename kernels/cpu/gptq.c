// SPDX-License-Identifier: Apache-2.0
/*
 * GPTQ (arXiv 2210.17323, algorithm 1) and round to nearest, GRID_ROWS rows of one matrix at a
 * time: rows do not know each other. A tile stands column by column in the order in which
 * columns are quantized. Within a block of columns every rounding error is spread over the rest
 * of the block at once; behind the block, by one sgemm when the block is done.
 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/kgrid.h"
#include "kernels/cpu/vector.h"

#include <cblas.h>
#include <errno.h>
#include <string.h>

#define BLOCK 128
#define ROWS GRID_ROWS

struct rounding {
    struct cpu *c;
    uint8_t *codes, *zeros;
    uint16_t *scales, *d, *dmin; /* d, dmin: of a K grid, else NULL; dmin: also when it is sym */
    int32_t *g_idx;
    float *dq;
    const float *w, *u;  /* u: NULL for round to nearest */
    const float *p;      /* NULL: no drift to correct */
    const float *h;      /* NULL unless the fit of the grid weighs columns by its diagonal */
    const int32_t *perm; /* NULL: the model's order */
    const struct grid *grid;
    size_t rows, n, groupsize, n_groups, n_supers, row_tiles; /* n_supers: 0 without a K grid */
    bool static_groups;
};

/* What a thread needs: column-by-column copies of one tile. */
struct tile {
    size_t g, row, n_rows;
    const int32_t *perm;
    const float *u, *p;
    float *w;                  /* [n, ROWS]; on their grid from left to right */
    float *errors;             /* [BLOCK, ROWS] */
    float *before;             /* [BLOCK, ROWS] the weights just before they were rounded; with p */
    float *diagonal;           /* [n] of h, in the order of groups; NULL without h */
    struct grid_rows *grids;   /* [n_groups] */
    struct kgrid_units *units; /* [n_supers] */
    struct kgrid_counts *counts; /* [n_groups], of a K grid */
    uint8_t *codes;              /* [n, ROWS] */
};

static size_t tile_size(const struct rounding *op) {
    return op->n * ROWS * (sizeof(float) + 1) + (2 * BLOCK * ROWS + op->n) * sizeof(float) +
           op->n_groups * sizeof(struct grid_rows) + op->n_supers * sizeof(struct kgrid_units) +
           (op->n_supers ? op->n_groups : 0) * sizeof(struct kgrid_counts);
}

static struct tile tile_of(const struct rounding *op, size_t task, int worker) {
    struct tile tile = {
        .g = task / op->row_tiles,
        .row = task % op->row_tiles * ROWS,
        .w = cpu_scratch(op->c, worker),
    };

    tile.n_rows = MIN(ROWS, op->rows - tile.row);
    tile.perm = op->perm ? op->perm + tile.g * op->n : NULL;
    tile.u = op->u ? op->u + tile.g * op->n * op->n : NULL;
    tile.p = op->p ? op->p + tile.g * op->n * op->n : NULL;
    tile.errors = tile.w + op->n * ROWS;
    tile.before = tile.errors + BLOCK * ROWS;
    tile.diagonal = op->h ? tile.before + BLOCK * ROWS : NULL;
    tile.grids = (struct grid_rows *)(tile.before + BLOCK * ROWS + op->n);
    tile.units = (struct kgrid_units *)(tile.grids + op->n_groups);
    tile.counts = (struct kgrid_counts *)(tile.units + op->n_supers);
    tile.codes = (uint8_t *)(tile.counts + (op->n_supers ? op->n_groups : 0));
    return tile;
}

/* Rows that the matrix does not have are zeros: the work on them is lost, and harmless. */
static void load_tile(const struct rounding *op, const struct tile *tile, const int32_t *perm) {
    const float *w = op->w + (tile->g * op->rows + tile->row) * op->n;

    if (tile->n_rows < ROWS)
        memset(tile->w, 0, op->n * ROWS * sizeof(float));
    for (size_t r = 0; r < tile->n_rows; r++) {
        for (size_t i = 0; i < op->n; i++)
            tile->w[i * ROWS + r] = w[r * op->n + (perm ? (size_t)perm[i] : i)];
    }
}

static void store_tile(const struct rounding *op, const struct tile *tile) {
    size_t at = (tile->g * op->rows + tile->row) * op->n;
    float *dq = op->dq + at;
    uint8_t *codes = op->codes + at;

    for (size_t r = 0; r < tile->n_rows; r++) {
        for (size_t i = 0; i < op->n; i++) {
            size_t column = tile->perm ? (size_t)tile->perm[i] : i;

            dq[r * op->n + column] = tile->w[i * ROWS + r];
            codes[r * op->n + column] = tile->codes[i * ROWS + r];
        }
    }
}

static void store_grids(const struct rounding *op, const struct tile *tile) {
    for (size_t group = 0; group < op->n_groups; group++) {
        size_t at = (tile->g * op->n_groups + group) * op->rows + tile->row;

        for (size_t r = 0; r < tile->n_rows; r++) {
            op->scales[at + r] = f32_to_f16(tile->grids[group].scale[r]);
            op->zeros[at + r] = (uint8_t)tile->grids[group].zero[r];
        }
    }
}

/* Of a K grid: units, and how many of them. */
static void store_counts(const struct rounding *op, const struct tile *tile) {
    for (size_t i = 0; i < op->n_groups; i++) {
        size_t at = (tile->g * op->n_groups + i) * op->rows + tile->row;

        for (size_t r = 0; r < tile->n_rows; r++) {
            op->scales[at + r] = f32_to_f16(tile->counts[i].scale[r]);
            op->zeros[at + r] =
                (uint8_t)(op->dmin ? tile->counts[i].min[r] : tile->grids[i].zero[r]);
        }
    }
    for (size_t i = 0; i < op->n_supers; i++) {
        size_t at = (tile->g * op->n_supers + i) * op->rows + tile->row;

        for (size_t r = 0; r < tile->n_rows; r++) {
            op->d[at + r] = f32_to_f16(tile->units[i].d[r]);
            if (op->dmin)
                op->dmin[at + r] = f32_to_f16(tile->units[i].dmin[r]);
        }
    }
}

/* The group of the @i-th column to be quantized. */
static size_t group_of(const struct rounding *op, const struct tile *tile, size_t i) {
    if (op->static_groups && tile->perm)
        i = (size_t)tile->perm[i];
    return i / op->groupsize;
}

static void store_g_idx(const struct rounding *op, const struct tile *tile) {
    int32_t *g_idx = op->g_idx + tile->g * op->n;

    for (size_t i = 0; i < op->n; i++)
        g_idx[tile->perm ? (size_t)tile->perm[i] : i] = (int32_t)group_of(op, tile, i);
}

static void load_diagonal(const struct rounding *op, const struct tile *tile) {
    const float *h = op->h + tile->g * op->n * op->n;

    for (size_t i = 0; i < op->n; i++) {
        size_t column = op->static_groups ? i : (size_t)tile->perm[i];

        tile->diagonal[i] = h[column * op->n + column];
    }
}

/* The grid of the @group whose columns, from the @i-th of the tile on, are as they are now. */
static void find_grid(const struct rounding *op, const struct tile *tile, size_t group, size_t i) {
    grid_find(op->grid, tile->w + i * ROWS, tile->diagonal ? tile->diagonal + i : NULL,
              op->groupsize, &tile->grids[group]);
}

static void find_static_grids(const struct rounding *op, const struct tile *tile) {
    for (size_t i = 0; i < op->n_supers; i++) {
        size_t column = i * GRID_SUPER, group = column / op->groupsize;

        kgrid_find(op->grid, tile->w + column * ROWS,
                   tile->diagonal ? tile->diagonal + column : NULL, &tile->units[i],
                   &tile->counts[group], &tile->grids[group]);
    }
    if (op->n_supers)
        return;
    for (size_t group = 0; group < op->n_groups; group++)
        find_grid(op, tile, group, group * op->groupsize);
}

/* error = (w - q) / u[i, i]; the columns behind, as far as @n, give error * u[i, .] away. */
vector_clones static void spread_error(float *restrict w, float *restrict error, const float *u,
                                       size_t n) {
    float diagonal = u[0];

    for (int r = 0; r < ROWS; r++)
        error[r] = (error[r] - w[r]) / diagonal;
    for (size_t i = 1; i < n; i++) {
        float f = u[i];

        for (int r = 0; r < ROWS; r++)
            w[i * ROWS + r] -= error[r] * f;
    }
}

/* The columns behind, as far as @n, get before * p[i, .]. */
vector_clones static void correct_drift(float *restrict w, const float *restrict before,
                                        const float *p, size_t n) {
    for (size_t i = 1; i < n; i++) {
        float f = p[i];

        for (int r = 0; r < ROWS; r++)
            w[i * ROWS + r] += before[r] * f;
    }
}

/*
 * Where the block that begins at column @i ends: after at most BLOCK columns, and such that a
 * group lies inside one block, or begins with one: then all that earlier columns owe to the
 * group's columns has reached them when its grid is made.
 */
static size_t block_end(const struct rounding *op, size_t i) {
    size_t group_end = (i / op->groupsize + 1) * op->groupsize;

    if (op->groupsize > BLOCK)
        return MIN(i + BLOCK, group_end);
    return MIN(op->n, i + BLOCK / op->groupsize * op->groupsize);
}

static void round_block(const struct rounding *op, const struct tile *tile, size_t first,
                        size_t end) {
    for (size_t i = first; i < end; i++) {
        float *w = tile->w + i * ROWS, *error = tile->errors + (i - first) * ROWS;
        size_t group = group_of(op, tile, i);

        if (!op->static_groups && i % op->groupsize == 0)
            find_grid(op, tile, group, i);
        memcpy(error, w, ROWS * sizeof(float));
        grid_quantize(&tile->grids[group], op->grid->wbits, w, w, tile->codes + i * ROWS);
        if (tile->p) {
            float *before = memcpy(tile->before + (i - first) * ROWS, error, ROWS * sizeof(float));

            correct_drift(w, before, tile->p + i * op->n + i, end - i);
        }
        spread_error(w, error, tile->u + i * op->n + i, end - i);
    }
}

/* What the block from column @i to @end gives to the columns behind it. */
static void spread_block(const struct rounding *op, const struct tile *tile, size_t i, size_t end) {
    int n = (int)op->n, left = (int)(op->n - end), columns = (int)(end - i);
    float *w = tile->w + end * ROWS;

    if (left == 0)
        return;
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, left, ROWS, columns, -1.0f,
                tile->u + i * op->n + end, n, tile->errors, ROWS, 1.0f, w, ROWS);
    if (tile->p)
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, left, ROWS, columns, 1.0f,
                    tile->p + i * op->n + end, n, tile->before, ROWS, 1.0f, w, ROWS);
}

static void gptq_tile(const void *arg, size_t task, int worker) {
    const struct rounding *op = arg;
    struct tile tile = tile_of(op, task, worker);
    size_t end;

    if (tile.diagonal)
        load_diagonal(op, &tile);
    if (op->static_groups) {
        load_tile(op, &tile, NULL);
        find_static_grids(op, &tile);
    }
    load_tile(op, &tile, tile.perm);
    for (size_t i = 0; i < op->n; i = end) {
        end = block_end(op, i);
        round_block(op, &tile, i, end);
        spread_block(op, &tile, i, end);
    }
    store_tile(op, &tile);
    if (op->n_supers)
        store_counts(op, &tile);
    else
        store_grids(op, &tile);
    if (tile.row == 0)
        store_g_idx(op, &tile);
}

static void rtn_tile(const void *arg, size_t task, int worker) {
    const struct rounding *op = arg;
    struct tile tile = tile_of(op, task, worker);

    load_tile(op, &tile, NULL);
    find_static_grids(op, &tile);
    for (size_t i = 0; i < op->n; i++) {
        float *w = tile.w + i * ROWS;

        grid_quantize(&tile.grids[i / op->groupsize], op->grid->wbits, w, w, tile.codes + i * ROWS);
    }
    store_tile(op, &tile);
    if (op->n_supers)
        store_counts(op, &tile);
    else
        store_grids(op, &tile);
    if (tile.row == 0)
        store_g_idx(op, &tile);
}

/* What gptq and rtn have in common: the check of the grid and of all but u and perm. */
static int prepare(struct rounding *op, const char *name, const struct quantized *q, struct span dq,
                   struct span w, int G, int rows, int n) {
    const struct grid *grid = op->grid;
    struct cpu *c = op->c;
    int n_groups, r;

    if (grid->wbits != 2 && grid->wbits != 3 && grid->wbits != 4 && grid->wbits != 8)
        return cpu_refuse(c, name, "wbits is 2, 3, 4 or 8", grid->wbits);
    if (n < 1 || grid->groupsize < 1 || n % grid->groupsize != 0)
        return cpu_refuse(c, name, "groupsize divides n", grid->groupsize);
    if (grid->fit != GRID_MINMAX && grid->fit != GRID_MSE && (grid->fit != GRID_HESSIAN || !op->u))
        return cpu_refuse(c, name, "the fit of the grid is known, and has what it needs",
                          grid->fit);
    n_groups = n / grid->groupsize;
    r = kgrid_check(c, name, grid, q, G, rows, n);
    if (r < 0)
        return r;
    r = cpu_check(c, name, OPERAND(dq, float, G, rows, n), OPERAND(w, float, G, rows, n),
                  OPERAND(q->codes, uint8_t, G, rows, n),
                  OPERAND(q->scales, uint16_t, G, n_groups, rows),
                  OPERAND(q->zeros, uint8_t, G, n_groups, rows), OPERAND(q->g_idx, int32_t, G, n));
    if (r < 0)
        return r;
    op->codes = q->codes.at;
    op->zeros = q->zeros.at;
    op->scales = (uint16_t *)q->scales.at;
    op->g_idx = (int32_t *)q->g_idx.at;
    op->dq = (float *)dq.at;
    op->w = (float *)w.at;
    op->rows = (size_t)rows;
    op->n = (size_t)n;
    op->groupsize = (size_t)grid->groupsize;
    op->n_groups = (size_t)n_groups;
    op->n_supers = grid->sub_bits ? op->n / GRID_SUPER : 0;
    op->d = (uint16_t *)q->d.at;
    op->dmin = (uint16_t *)q->dmin.at;
    op->row_tiles = n_tiles(op->rows, ROWS);
    return 0;
}

size_t cpu_gptq_scratch(struct backend *b, int G, int rows, int n, bool with_p) {
    (void)b;
    (void)with_p;
    (void)G;
    (void)rows;
    (void)n;
    return 0;
}

int cpu_gptq(struct backend *b, const struct quantized *q, struct span dq, struct span w,
             struct span u, struct span perm, struct span p, struct span h, const struct grid *grid,
             bool static_groups, int G, int rows, int n, struct span scratch) {
    struct cpu *c = cpu_of(b);
    struct rounding op = {
        .c = c,
        .u = (float *)u.at,
        .perm = (int32_t *)perm.at,
        .p = p.size > 0 ? (float *)p.at : NULL,
        .h = grid->fit == GRID_HESSIAN ? (float *)h.at : NULL,
        .grid = grid,
        .static_groups = static_groups,
    };
    int r = prepare(&op, "gptq", q, dq, w, G, rows, n);

    (void)scratch;
    if (r == 0 && grid->sub_bits && !static_groups)
        r = cpu_refuse(c, "gptq", "a K grid is static", grid->sub_bits);
    if (r == 0)
        r = cpu_check(c, "gptq", OPERAND(u, float, G, n, n), OPERAND(perm, int32_t, G, n));
    if (r == 0 && p.size > 0)
        r = cpu_check(c, "gptq", OPERAND(p, float, G, n, n));
    if (r == 0 && grid->fit == GRID_HESSIAN)
        r = cpu_check(c, "gptq", OPERAND(h, float, G, n, n));
    if (r == 0)
        r = cpu_check_indices(c, "gptq", "perm", op.perm, (size_t)G * op.n, n);
    return r < 0 ? r : cpu_run(c, (size_t)G * op.row_tiles, tile_size(&op), gptq_tile, &op);
}

int cpu_rtn(struct backend *b, const struct quantized *q, struct span dq, struct span w,
            const struct grid *grid, int G, int rows, int n) {
    struct cpu *c = cpu_of(b);
    struct rounding op = {.c = c, .grid = grid, .static_groups = true};
    int r = prepare(&op, "rtn", q, dq, w, G, rows, n);

    return r < 0 ? r : cpu_run(c, (size_t)G * op.row_tiles, tile_size(&op), rtn_tile, &op);
}
