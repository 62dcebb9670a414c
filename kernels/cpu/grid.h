// SPDX-License-Identifier: Apache-2.0
/*
 * Grids of GRID_ROWS rows at a time. Weights stand column by column, [columns, GRID_ROWS], so
 * that rows, which do not know each other, fill vectors.
 */
#pragma once

#include "kernels/backend.h"

#define GRID_ROWS 64

/* The grid of one group in each row: scale exact in f16, zero in [0, 2^wbits - 1]. */
struct grid_rows {
    float scale[GRID_ROWS];
    float zero[GRID_ROWS];
};

/*
 * grid_find() - the grids of the @n columns at @w [n, GRID_ROWS], as backend.h defines them.
 * @weights [n]: the columns' h[j, j]; read for GRID_HESSIAN only.
 */
void grid_find(const struct grid *grid, const float *w, const float *weights, size_t n,
               struct grid_rows *ret_grids);

/* grid_stored_scale() - the f16 that stands for @scale, as a float. */
float grid_stored_scale(float scale);

/*
 * grid_quantize() - one column: w [GRID_ROWS] on its grid as @codes and @dq.
 * @dq may be @w.
 */
void grid_quantize(const struct grid_rows *grids, int wbits, const float *w, float *dq,
                   uint8_t *codes);
