// SPDX-License-Identifier: Apache-2.0
/* Scales and zeros; the search of the shrunk range follows arXiv 2210.17323's reference code. */
#include "kernels/cpu/grid.h"

#include <math.h>

#define MSE_NORM 2.4f
#define SHRINK_GRID 100
#define SHRINK_STEPS 80 /* shrinks the range down to 1 - 79/100 of itself */

#define SCALE_MIN 0x1p-24f /* the smallest f16 above 0 */
#define SCALE_MAX 65504.0f /* the largest f16 */

struct range {
    float min[GRID_ROWS], max[GRID_ROWS];
};

vector_clones static void find_range(const float *w, size_t n, struct range *range) {
    for (int r = 0; r < GRID_ROWS; r++)
        range->min[r] = range->max[r] = 0;
    for (size_t i = 0; i < n; i++) {
        for (int r = 0; r < GRID_ROWS; r++) {
            float v = w[i * GRID_ROWS + r];

            range->min[r] = v < range->min[r] ? v : range->min[r];
            range->max[r] = v > range->max[r] ? v : range->max[r];
        }
    }
}

float grid_stored_scale(float scale) {
    scale = scale > SCALE_MIN ? scale : SCALE_MIN;
    scale = scale < SCALE_MAX ? scale : SCALE_MAX;
    return f16_to_f32(f32_to_f16(scale));
}

/* The grids of a range shrunk by @p. */
static void grids_of_range(const struct grid *grid, const struct range *range, float p,
                           struct grid_rows *grids) {
    float maxq = (float)((1 << grid->wbits) - 1);

    for (int r = 0; r < GRID_ROWS; r++) {
        float min = range->min[r], max = range->max[r];

        grids->min[r] = 0;
        if (min == 0 && max == 0) {
            min = -1;
            max = 1;
        }
        if (grid->sym) {
            max = -min > max ? -min : max;
            grids->scale[r] = grid_stored_scale(p * (2 * max) / maxq);
            grids->zero[r] = (float)(1 << (grid->wbits - 1));
        } else {
            float zero;

            grids->scale[r] = grid_stored_scale(p * (max - min) / maxq);
            zero = rintf(-(p * min) / grids->scale[r]);
            grids->zero[r] = zero < maxq ? zero : maxq;
        }
    }
}

/* |x|^2.4; the smallest normal number stands for less, whose power vanishes as well. */
vector_inline float error_power(float x) {
    float a = fabsf(x);

    a = a < 0x1p-126f ? 0x1p-126f : a;
    return vector_exp(MSE_NORM * vector_log(a));
}

vector_clones static void grid_error(const struct grid_rows *grids, float maxq, const float *w,
                                     size_t n, float *restrict error) {
    for (int r = 0; r < GRID_ROWS; r++)
        error[r] = 0;
    for (size_t i = 0; i < n; i++) {
        for (int r = 0; r < GRID_ROWS; r++) {
            float v = w[i * GRID_ROWS + r], scale = grids->scale[r], zero = grids->zero[r];

            error[r] += error_power(scale * (grid_code(v, scale, zero, maxq) - zero) - v);
        }
    }
}

/* The same with squares, weighted column by column. */
vector_clones static void weighted_error(const struct grid_rows *grids, float maxq, const float *w,
                                         const float *weights, size_t n, float *restrict error) {
    for (int r = 0; r < GRID_ROWS; r++)
        error[r] = 0;
    for (size_t i = 0; i < n; i++) {
        for (int r = 0; r < GRID_ROWS; r++) {
            float v = w[i * GRID_ROWS + r], scale = grids->scale[r], zero = grids->zero[r];
            float d = scale * (grid_code(v, scale, zero, maxq) - zero) - v;

            error[r] += weights[i] * (d * d);
        }
    }
}

static void search_shrink(const struct grid *grid, const struct range *range, const float *w,
                          const float *weights, size_t n, struct grid_rows *best) {
    float least[GRID_ROWS], error[GRID_ROWS], maxq = (float)((1 << grid->wbits) - 1);
    bool weighted = grid->fit == GRID_HESSIAN;
    struct grid_rows shrunk;

    if (weighted)
        weighted_error(best, maxq, w, weights, n, least);
    else
        grid_error(best, maxq, w, n, least);
    for (int step = 1; step < SHRINK_STEPS; step++) {
        grids_of_range(grid, range, 1.0f - (float)step / SHRINK_GRID, &shrunk);
        if (weighted)
            weighted_error(&shrunk, maxq, w, weights, n, error);
        else
            grid_error(&shrunk, maxq, w, n, error);
        for (int r = 0; r < GRID_ROWS; r++) {
            if (error[r] < least[r]) {
                least[r] = error[r];
                best->scale[r] = shrunk.scale[r];
                best->zero[r] = shrunk.zero[r];
            }
        }
    }
}

void grid_find(const struct grid *grid, const float *w, const float *weights, size_t n,
               struct grid_rows *ret_grids) {
    struct range range;

    find_range(w, n, &range);
    grids_of_range(grid, &range, 1.0f, ret_grids);
    if (grid->fit != GRID_MINMAX)
        search_shrink(grid, &range, w, weights, n, ret_grids);
}

vector_clones void grid_quantize(const struct grid_rows *grids, int wbits, const float *w,
                                 float *dq, uint8_t *codes) {
    float maxq = (float)((1 << wbits) - 1), code[GRID_ROWS];

    for (int r = 0; r < GRID_ROWS; r++) {
        code[r] = grid_code(w[r] + grids->min[r], grids->scale[r], grids->zero[r], maxq);
        dq[r] = grids->scale[r] * (code[r] - grids->zero[r]) - grids->min[r];
    }
    for (int r = 0; r < GRID_ROWS; r++)
        codes[r] = (uint8_t)(int32_t)code[r];
}
