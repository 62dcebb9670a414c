// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/kgrid.h"

#include "base/dtype.h"
#include "kernels/cpu/cpu.h"

#include <math.h>
#include <string.h>

#define ROWS GRID_ROWS
#define TRIALS 16
#define ROUNDS 3
#define WEIGHT_LEAST 0.01f /* of the mean weight, is added to all */
#define UNIT_MIN 0x1p-24f  /* the smallest f16 above 0 */
#define UNIT_MAX 65504.0f

/* One super-block at work. */
struct search {
    const struct grid *grid;
    const float *w;              /* [GRID_SUPER, ROWS] */
    float weights[GRID_SUPER];   /* above 0 */
    size_t n_groups, groupsize;  /* n_groups: of the super-block */
    float maxq, zero;            /* the largest code; the code that stands for -min */
    float least, most, most_min; /* counts of scales; of minima, from 0 */
    struct kgrid_units *units;   /* what is best so far, as are the others */
    struct kgrid_counts *counts; /* [n_groups] */
    struct grid_rows *grids;     /* [n_groups] */
    float error[KGRID_GROUPS_MAX][ROWS];
};

/* Weighted sums over a group, q being code - zero. */
struct sums {
    float qq[ROWS], q[ROWS], qw[ROWS], w[ROWS], one;
};

static float f16_of(float x) {
    return f16_to_f32(f32_to_f16(x));
}

/* ---- over the columns of a group ---- */

vector_clones static void add_error(const struct grid_rows *grids, float maxq, const float *w,
                                    const float *weights, size_t n, float *restrict error) {
    for (int r = 0; r < ROWS; r++)
        error[r] = 0;
    for (size_t i = 0; i < n; i++) {
        for (int r = 0; r < ROWS; r++) {
            float v = w[i * ROWS + r] + grids->min[r], scale = grids->scale[r];
            float zero = grids->zero[r], e = scale * (grid_code(v, scale, zero, maxq) - zero) - v;

            error[r] += weights[i] * (e * e);
        }
    }
}

vector_clones static void add_sums(const struct grid_rows *grids, float maxq, const float *w,
                                   const float *weights, size_t n, struct sums *restrict sums) {
    memset(sums, 0, sizeof(*sums));
    for (size_t i = 0; i < n; i++) {
        sums->one += weights[i];
        for (int r = 0; r < ROWS; r++) {
            float v = w[i * ROWS + r], zero = grids->zero[r];
            float q = grid_code(v + grids->min[r], grids->scale[r], zero, maxq) - zero;

            sums->qq[r] += weights[i] * (q * q);
            sums->q[r] += weights[i] * q;
            sums->qw[r] += weights[i] * (q * v);
            sums->w[r] += weights[i] * v;
        }
    }
}

static void error_of(const struct search *s, size_t group, const struct grid_rows *grids,
                     float *error) {
    size_t first = group * s->groupsize;

    add_error(grids, s->maxq, s->w + first * ROWS, s->weights + first, s->groupsize, error);
}

static void sums_of(const struct search *s, size_t group, const struct grid_rows *grids,
                    struct sums *sums) {
    size_t first = group * s->groupsize;

    add_sums(grids, s->maxq, s->w + first * ROWS, s->weights + first, s->groupsize, sums);
}

/* ---- 1: each group by itself ---- */

/* @scale and @min of row @r by least squares, for the codes of @sums; they stay where there is no
 * such scale. */
static void fit_row(const struct search *s, const struct sums *sums, size_t r, float *scale,
                    float *min) {
    float qq = sums->qq[r], q = sums->q[r], qw = sums->qw[r], w = sums->w[r];
    float det = qq * sums->one - q * q, fit = qw / qq, fit_min = 0;

    if (!s->grid->sym && det > 0) {
        fit_min = (q * qw - qq * w) / det;
        if (fit_min > 0)
            fit = (qw * sums->one - q * w) / det;
        else
            fit_min = 0;
    }
    if (!(qq > 0) || !isfinite(fit) || (!s->grid->sym && !(fit > 0)))
        return;
    *scale = fit;
    *min = fit_min;
}

/* Of each row: the least and the largest weight, with 0. */
static void find_range(const struct search *s, size_t group, float *lo, float *hi) {
    const float *w = s->w + group * s->groupsize * ROWS;

    memset(lo, 0, ROWS * sizeof(*lo));
    memset(hi, 0, ROWS * sizeof(*hi));
    for (size_t i = 0; i < s->groupsize * ROWS; i++) {
        lo[i % ROWS] = fminf(lo[i % ROWS], w[i]);
        hi[i % ROWS] = fmaxf(hi[i % ROWS], w[i]);
    }
}

/* The grid of @p of the range. The weight that is farthest from 0 has the symmetric code 0. */
static void shrink(const struct search *s, const float *lo, const float *hi, float p,
                   struct grid_rows *grids) {
    for (size_t r = 0; r < ROWS; r++) {
        float scale =
            s->grid->sym ? (hi[r] > -lo[r] ? hi[r] : lo[r]) / -s->zero : (hi[r] - lo[r]) / s->maxq;

        grids->scale[r] = scale == 0 ? UNIT_MIN : p * scale;
        grids->min[r] = s->grid->sym ? 0 : -p * lo[r];
        grids->zero[r] = s->zero;
    }
}

/* The best scale and minimum of @group, in floats, to @best. */
static void fit_group(const struct search *s, size_t group, struct grid_rows *best) {
    float lo[ROWS], hi[ROWS], error[ROWS], least[ROWS];
    struct grid_rows trial;
    struct sums sums;

    find_range(s, group, lo, hi);
    for (int t = 0; t < TRIALS; t++) {
        shrink(s, lo, hi, 1.05f - 0.04f * (float)t, &trial);
        sums_of(s, group, &trial, &sums);
        for (size_t r = 0; r < ROWS; r++)
            fit_row(s, &sums, r, &trial.scale[r], &trial.min[r]);
        error_of(s, group, &trial, error);
        for (size_t r = 0; r < ROWS; r++) {
            if (t > 0 && !(error[r] < least[r]))
                continue;
            least[r] = error[r];
            best->scale[r] = trial.scale[r];
            best->min[r] = trial.min[r];
            best->zero[r] = trial.zero[r];
        }
    }
}

/* ---- 2: units ---- */

/* @unit as f16 and not 0, with its sign. */
static float sound_unit(float unit) {
    float size = fminf(fmaxf(fabsf(unit), UNIT_MIN), UNIT_MAX);

    return copysignf(f16_of(size), unit);
}

static void first_units(const struct search *s) {
    for (size_t r = 0; r < ROWS; r++) {
        float scale = 0, min = 0;

        for (size_t k = 0; k < s->n_groups; k++) {
            if (fabsf(s->grids[k].scale[r]) > fabsf(scale))
                scale = s->grids[k].scale[r];
            min = fmaxf(min, s->grids[k].min[r]);
        }
        s->units->d[r] = sound_unit(scale / (s->grid->sym ? s->least : s->most));
        s->units->dmin[r] = f16_of(fminf(min / fmaxf(s->most_min, 1), UNIT_MAX));
    }
}

/* ---- 3: whole numbers, and units again ---- */

/* The count of @value in @unit, @more besides, within limits; a symmetric scale is never 0. */
static float count_of(float value, float unit, float more, float least, float most) {
    float count = unit != 0 ? rintf(value / unit) + more : 0;

    count = fminf(fmaxf(count, least), most);
    return count == 0 && least < 0 ? 1 : count;
}

/* Row @r on the grid of @counts, in units of @units. */
static void set_row(const struct search *s, const struct kgrid_units *units,
                    const struct kgrid_counts *counts, size_t r, struct grid_rows *grids) {
    kgrid_row(grids, r, units->d[r], s->grid->sym ? NULL : &units->dmin[r], counts->scale[r],
              s->grid->sym ? s->zero : counts->min[r]);
}

/* @group takes the neighbours @more, @more_min of @about, where they are better. */
static void try_counts(struct search *s, size_t group, const struct grid_rows *about, float more,
                       float more_min, bool first) {
    struct kgrid_counts counts;
    struct grid_rows trial;
    float error[ROWS];

    for (size_t r = 0; r < ROWS; r++) {
        counts.scale[r] = count_of(about->scale[r], s->units->d[r], more, s->least, s->most);
        counts.min[r] = count_of(about->min[r], s->units->dmin[r], more_min, 0, s->most_min);
        set_row(s, s->units, &counts, r, &trial);
    }
    error_of(s, group, &trial, error);
    for (size_t r = 0; r < ROWS; r++) {
        if (!first && !(error[r] < s->error[group][r]))
            continue;
        s->error[group][r] = error[r];
        s->counts[group].scale[r] = counts.scale[r];
        s->counts[group].min[r] = counts.min[r];
        set_row(s, s->units, &counts, r, &s->grids[group]);
    }
}

static void count_group(struct search *s, size_t group, bool first) {
    struct grid_rows about = s->grids[group];
    int reach = s->grid->sym ? 0 : 1;
    struct sums sums;

    if (!first) {
        sums_of(s, group, &about, &sums);
        for (size_t r = 0; r < ROWS; r++)
            fit_row(s, &sums, r, &about.scale[r], &about.min[r]);
    }
    for (int more = 0; more < 3; more++) { /* 0, 1, -1 */
        for (int more_min = 0; more_min <= 2 * reach; more_min++)
            try_counts(s, group, &about, (float)(more == 2 ? -1 : more),
                       (float)(more_min == 2 ? -1 : more_min), first && !more && !more_min);
    }
}

/* The system for the units of each row: d a - dmin b = x, d b - dmin c = y. */
struct unit_system {
    float a[ROWS], b[ROWS], c[ROWS], x[ROWS], y[ROWS];
};

static void find_system(const struct search *s, struct unit_system *system) {
    struct sums sums;

    memset(system, 0, sizeof(*system));
    for (size_t k = 0; k < s->n_groups; k++) {
        const struct kgrid_counts *counts = &s->counts[k];

        sums_of(s, k, &s->grids[k], &sums);
        for (size_t r = 0; r < ROWS; r++) {
            float scale = counts->scale[r], min = s->grid->sym ? 0 : counts->min[r];

            system->a[r] += scale * scale * sums.qq[r];
            system->b[r] += scale * min * sums.q[r];
            system->c[r] += min * min * sums.one;
            system->x[r] += scale * sums.qw[r];
            system->y[r] += min * sums.w[r];
        }
    }
}

static void solve_units(const struct search *s, const struct unit_system *e, size_t r,
                        struct kgrid_units *units) {
    float det = e->a[r] * e->c[r] - e->b[r] * e->b[r];
    float d = e->x[r] / e->a[r], dmin = 0;

    if (e->c[r] > 0 && det > 0) {
        dmin = (e->b[r] * e->x[r] - e->a[r] * e->y[r]) / det;
        if (dmin > 0)
            d = (e->x[r] * e->c[r] - e->b[r] * e->y[r]) / det;
        else
            dmin = 0;
    }
    units->d[r] = s->units->d[r];
    units->dmin[r] = s->units->dmin[r];
    if (!isfinite(d) || d == 0 || (!s->grid->sym && d < 0) || !isfinite(dmin))
        return;
    units->d[r] = sound_unit(d);
    units->dmin[r] = f16_of(fminf(dmin, UNIT_MAX));
}

/* New units where they lower the error of the super-block. */
static void fit_units(struct search *s) {
    float error[KGRID_GROUPS_MAX][ROWS], before[ROWS] = {}, after[ROWS] = {};
    struct unit_system system;
    struct kgrid_units units;
    struct grid_rows trial;

    find_system(s, &system);
    for (size_t r = 0; r < ROWS; r++)
        solve_units(s, &system, r, &units);
    for (size_t k = 0; k < s->n_groups; k++) {
        for (size_t r = 0; r < ROWS; r++)
            set_row(s, &units, &s->counts[k], r, &trial);
        error_of(s, k, &trial, error[k]);
        for (size_t r = 0; r < ROWS; r++) {
            before[r] += s->error[k][r];
            after[r] += error[k][r];
        }
    }
    for (size_t r = 0; r < ROWS; r++) {
        if (!(after[r] < before[r]))
            continue;
        s->units->d[r] = units.d[r];
        s->units->dmin[r] = units.dmin[r];
        for (size_t k = 0; k < s->n_groups; k++) {
            s->error[k][r] = error[k][r];
            set_row(s, &units, &s->counts[k], r, &s->grids[k]);
        }
    }
}

/* ---- checks ---- */

int kgrid_check_units(struct cpu *c, const char *op, const struct quantized *q, int G, int rows,
                      int n) {
    int r;

    if (n % GRID_SUPER != 0)
        return cpu_refuse(c, op, "super-blocks divide n", n);
    r = cpu_check(c, op, OPERAND(q->d, uint16_t, G, n / GRID_SUPER, rows));
    return r || q->dmin.size == 0
               ? r
               : cpu_check(c, op, OPERAND(q->dmin, uint16_t, G, n / GRID_SUPER, rows));
}

int kgrid_check(struct cpu *c, const char *op, const struct grid *grid, const struct quantized *q,
                int G, int rows, int n) {
    int groupsize = grid->groupsize;

    if (!grid->sub_bits)
        return 0;
    if (grid->sub_bits < 4 || grid->sub_bits > 8)
        return cpu_refuse(c, op, "scales of a K grid have 4 to 8 bits", grid->sub_bits);
    if (groupsize < 8 || groupsize > GRID_SUPER || (groupsize & (groupsize - 1)))
        return cpu_refuse(c, op, "groups of a K grid are a power of two from 8 on", groupsize);
    if (grid->sym != (q->dmin.size == 0))
        return cpu_refuse(c, op, "an asymmetric K grid has a dmin", grid->sym);
    return kgrid_check_units(c, op, q, G, rows, n);
}

/* ---- the search ---- */

static void set_weights(struct search *s, const float *weights) {
    float mean = 0;

    for (size_t i = 0; i < GRID_SUPER; i++)
        mean += weights ? weights[i] / GRID_SUPER : 0;
    for (size_t i = 0; i < GRID_SUPER; i++)
        s->weights[i] = mean > 0 ? weights[i] + WEIGHT_LEAST * mean : 1;
}

void kgrid_find(const struct grid *grid, const float *w, const float *weights,
                struct kgrid_units *ret_units, struct kgrid_counts *ret_counts,
                struct grid_rows *ret_grids) {
    struct search s = {
        .grid = grid,
        .w = w,
        .n_groups = GRID_SUPER / (size_t)grid->groupsize,
        .groupsize = (size_t)grid->groupsize,
        .maxq = (float)((1 << grid->wbits) - 1),
        .zero = grid->sym ? (float)(1 << (grid->wbits - 1)) : 0,
        .least = grid->sym ? -(float)(1 << (grid->sub_bits - 1)) : 1,
        .most = (float)((1 << (grid->sub_bits - (grid->sym ? 1 : 0))) - 1),
        .most_min = grid->sym ? 0 : (float)((1 << grid->sub_bits) - 1),
        .units = ret_units,
        .counts = ret_counts,
        .grids = ret_grids,
    };

    set_weights(&s, weights);
    for (size_t k = 0; k < s.n_groups; k++)
        fit_group(&s, k, &ret_grids[k]);
    first_units(&s);
    for (int round = 0; round < ROUNDS; round++) {
        for (size_t k = 0; k < s.n_groups; k++)
            count_group(&s, k, round == 0);
        fit_units(&s);
    }
}
