// SPDX-License-Identifier: Apache-2.0
/*
 * Grids of GRID_ROWS rows at a time. Weights stand column by column, [columns, GRID_ROWS], so
 * that rows, which do not know each other, fill vectors.
 */
#pragma once

#include "kernels/backend.h"
#include "kernels/cpu/vector.h"

#define GRID_ROWS 64

/*
 * The grid of one group in each row: a code stands for scale * (code - zero) - min. The scale is
 * exact in f16, or, of a K grid, in units of d; zero is in [0, 2^wbits - 1]; min is 0 but for an
 * asymmetric K grid.
 */
struct grid_rows {
    float scale[GRID_ROWS];
    float zero[GRID_ROWS];
    float min[GRID_ROWS];
};

/* Far beyond every code, and small enough for vector_round(). */
#define GRID_STEPS_MAX 1024.0f

/* grid_code() - the code nearest to @w + @scale * @zero, as a float. A NaN becomes code 0. */
vector_inline float grid_code(float w, float scale, float zero, float maxq) {
    float steps = w / scale;

    steps = steps < -GRID_STEPS_MAX ? -GRID_STEPS_MAX : steps;
    steps = steps > GRID_STEPS_MAX ? GRID_STEPS_MAX : steps;
    steps = vector_round(steps) + zero;
    steps = steps > 0.0f ? steps : 0.0f;
    return steps < maxq ? steps : maxq;
}

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
