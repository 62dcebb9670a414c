// SPDX-License-Identifier: Apache-2.0
/* A Cholesky factorization for each row, all rows at once, in place: A + ridge = L L'. */
#include "kernels/cpu/refine/scales.h"

#include "base/dtype.h"
#include "base/macros.h"
#include "kernels/cpu/vector.h"

#include <math.h>
#include <string.h>

#define ROWS GRID_ROWS
#define RIDGE 1e-4f /* of the mean of the diagonal */

struct scales scales_of(float *memory, size_t n_groups) {
    size_t system = n_groups * (n_groups + 1) / 2 * ROWS;

    return (struct scales){n_groups, memory, memory + system, memory + system + n_groups * ROWS};
}

void scales_clear(const struct scales *s) {
    memset(s->system, 0, scales_floats(s->n_groups) * sizeof(float));
}

static inline float *element(const struct scales *s, size_t i, size_t j) {
    return s->system + (i * (i + 1) / 2 + j) * ROWS;
}

vector_clones static void add_product(float *restrict sum, const float *a, const float *b) {
    for (int r = 0; r < ROWS; r++)
        sum[r] += a[r] * b[r];
}

void scales_add_slope(const struct scales *s, size_t group, const float *steps,
                      const float *gradient) {
    add_product(s->slope + group * ROWS, steps, gradient);
}

void scales_add(const struct scales *s, size_t group, size_t other, const float *steps,
                const float *product) {
    add_product(element(s, group, other), steps, product);
}

vector_clones static void subtract_product(float *restrict sum, const float *a, const float *b) {
    for (int r = 0; r < ROWS; r++)
        sum[r] -= a[r] * b[r];
}

/* A row whose pivot is not positive is marked in @bad; its factor is of no use. */
static void factor(const struct scales *s, bool *bad) {
    for (size_t i = 0; i < s->n_groups; i++) {
        for (size_t j = 0; j <= i; j++) {
            float *at = element(s, i, j), *pivot = element(s, j, j);

            for (size_t k = 0; k < j; k++)
                subtract_product(at, element(s, i, k), element(s, j, k));
            for (int r = 0; r < ROWS; r++) {
                if (i > j) {
                    at[r] /= pivot[r];
                } else if (at[r] > 0 && isfinite(at[r])) {
                    at[r] = sqrtf(at[r]);
                } else {
                    at[r] = 1;
                    bad[r] = true;
                }
            }
        }
    }
}

/* step = -inv(L L') slope */
static void substitute(const struct scales *s) {
    for (size_t i = 0; i < s->n_groups; i++) {
        float *step = s->step + i * ROWS, *pivot = element(s, i, i);

        for (int r = 0; r < ROWS; r++)
            step[r] = -s->slope[i * ROWS + r];
        for (size_t k = 0; k < i; k++)
            subtract_product(step, element(s, i, k), s->step + k * ROWS);
        for (int r = 0; r < ROWS; r++)
            step[r] /= pivot[r];
    }
    for (size_t i = s->n_groups; i-- > 0;) {
        float *step = s->step + i * ROWS, *pivot = element(s, i, i);

        for (size_t k = i + 1; k < s->n_groups; k++)
            subtract_product(step, element(s, k, i), s->step + k * ROWS);
        for (int r = 0; r < ROWS; r++)
            step[r] /= pivot[r];
    }
}

/* The step that is taken: to an f16, within half and one and a half times the scale. */
static void round_steps(const struct scales *s, const struct grid_rows *grids) {
    for (size_t i = 0; i < s->n_groups; i++) {
        for (int r = 0; r < ROWS; r++) {
            float *step = &s->step[i * ROWS + (size_t)r], old = grids[i].scale[r];
            float scale = grid_stored_scale(old + *step);

            *step = scale >= 0.5f * old && scale <= 1.5f * old ? scale - old : 0;
        }
    }
}

/* ret = the change of the objective, 2 slope step + step A step, with A = L L' - ridge */
static void find_change(const struct scales *s, const float *ridge, float *ret) {
    float sum[ROWS];

    for (int r = 0; r < ROWS; r++)
        ret[r] = 0;
    for (size_t i = 0; i < s->n_groups; i++) {
        const float *step = s->step + i * ROWS;

        for (int r = 0; r < ROWS; r++) {
            sum[r] = 0;
            ret[r] += 2 * s->slope[i * ROWS + (size_t)r] * step[r] - ridge[r] * step[r] * step[r];
        }
        for (size_t k = i; k < s->n_groups; k++)
            add_product(sum, element(s, k, i), s->step + k * ROWS);
        add_product(ret, sum, sum);
    }
}

void scales_solve(const struct scales *s, struct grid_rows *grids) {
    float ridge[ROWS] = {0}, change[ROWS];
    bool bad[ROWS] = {false};

    for (size_t i = 0; i < s->n_groups; i++) {
        for (int r = 0; r < ROWS; r++)
            ridge[r] += element(s, i, i)[r];
    }
    for (int r = 0; r < ROWS; r++)
        ridge[r] *= RIDGE / (float)s->n_groups;
    for (size_t i = 0; i < s->n_groups; i++) {
        for (int r = 0; r < ROWS; r++)
            element(s, i, i)[r] += ridge[r];
    }
    factor(s, bad);
    substitute(s);
    round_steps(s, grids);
    find_change(s, ridge, change);
    for (size_t i = 0; i < s->n_groups; i++) {
        for (int r = 0; r < ROWS; r++) {
            if (!bad[r] && change[r] < 0)
                grids[i].scale[r] += s->step[i * ROWS + (size_t)r];
        }
    }
}
