// SPDX-License-Identifier: Apache-2.0
/*
 * K grids (struct grid of backend.h) of GRID_ROWS rows at a time, in steps of which none lets the
 * weighted error of a super-block grow but the first:
 * 1. Each group by itself: scale and minimum, in floats, by least squares for the codes that 16
 *    shrunk ranges give, 1.05, 1.01 ... 0.45 of the whole; the best of these.
 * 2. Units: d such that the largest scale of the super-block is the largest whole number, likewise
 *    dmin; both are rounded to f16.
 * 3. Three times: each group takes the whole numbers nearest to its scale and minimum, or a
 *    neighbour of them, or keeps what it has, whichever has the least error; then d and dmin by
 *    least squares for the codes, scales and minima as they are, if the error falls. From the
 * second time on, a group's scale and minimum are by least squares for its codes. Steps 1 and 2 are
 * those of make_qkx2_quants() and its like in llama.cpp's ggml-quants.c.
 */
#pragma once

#include "kernels/cpu/grid.h"

#define KGRID_GROUPS_MAX (GRID_SUPER / 8) /* of a super-block */

/* What a super-block of each row is counted in; exact in f16. */
struct kgrid_units {
    float d[GRID_ROWS], dmin[GRID_ROWS];
};

/* Of one group in each row, in these units: whole numbers. */
struct kgrid_counts {
    float scale[GRID_ROWS], min[GRID_ROWS];
};

/*
 * kgrid_find() - the K grid of the super-block at @w [GRID_SUPER, GRID_ROWS]. @weights
 * [GRID_SUPER]: the columns' h[j, j], or NULL. *ret_counts and *ret_grids are [GRID_SUPER /
 * groupsize]; the grids are what counts and units come to.
 */
void kgrid_find(const struct grid *grid, const float *w, const float *weights,
                struct kgrid_units *ret_units, struct kgrid_counts *ret_counts,
                struct grid_rows *ret_grids);

struct cpu;

/* kgrid_check_units() - d and, if there is one, dmin of @q fit the shape. 0 or -EINVAL. */
int kgrid_check_units(struct cpu *c, const char *op, const struct quantized *q, int G, int rows,
                      int n);

/* kgrid_check() - the same, and whether @grid is one of the contract; 0 for another grid. */
int kgrid_check(struct cpu *c, const char *op, const struct grid *grid, const struct quantized *q,
                int G, int rows, int n);

/* kgrid_row() - the grid of row @r of a group of counts @scale and @zero (as struct quantized has
 * them) in units of @d and @dmin; dmin NULL: symmetric. */
static inline void kgrid_row(struct grid_rows *grids, size_t r, float d, const float *dmin,
                             float scale, float zero) {
    grids->scale[r] = d * scale;
    grids->zero[r] = dmin ? 0 : zero;
    grids->min[r] = dmin ? *dmin * zero : 0;
}
