// SPDX-License-Identifier: Apache-2.0
/*
 * The scales of GRID_ROWS rows by least squares, for fixed codes: of each row a system of as many
 * unknowns as it has groups. Arrays end in [GRID_ROWS], so that rows fill vectors.
 */
#pragma once

#include "kernels/cpu/grid.h"

struct scales {
    size_t n_groups;
    float *system; /* [n_groups * (n_groups + 1) / 2, GRID_ROWS]: lower triangle, row by row */
    float *slope;  /* [n_groups, GRID_ROWS]: half the objective's derivative by each scale */
    float *step;   /* [n_groups, GRID_ROWS]: scratch */
};

/* scales_floats() - memory of a system of @n_groups, in floats. */
static inline size_t scales_floats(size_t n_groups) {
    return (n_groups * (n_groups + 1) / 2 + 2 * n_groups) * GRID_ROWS;
}

/* scales_of() - a system in @memory, which is borrowed. */
struct scales scales_of(float *memory, size_t n_groups);

void scales_clear(const struct scales *s);

/* The part of one column of @group: steps (code minus zero) and gradient, [GRID_ROWS] each. */
void scales_add_slope(const struct scales *s, size_t group, const float *steps,
                      const float *gradient);
/* The part of one column of group @other <= @group; @product: the column's of H c of @group. */
void scales_add(const struct scales *s, size_t group, size_t other, const float *steps,
                const float *product);

/*
 * scales_solve() - put the new scales into @grids [n_groups]: as backend.h says of refine(). A row
 * whose objective they would not lower keeps its own.
 */
void scales_solve(const struct scales *s, struct grid_rows *grids);
