// SPDX-License-Identifier: Apache-2.0
/*
 * refine() against plain loops in double: coordinate descent one column after the other, and
 * scales by Gaussian elimination. A step at a tie may go either way, and what follows in its row
 * then rightly differs: so most rows must agree, and all must be as good.
 */
#include "tests/kernels/reference.h"
#include "tests/kernels/sweep.h"

#include <math.h>
#include <string.h>

#define TOL_OBJECTIVE 1e-4 /* of the sum of |terms| of either sign */
#define TOL_TOTAL 0.01     /* of the objective that the reference reaches, over all rows */
#define SAME_ROWS 0.5

struct refine_case {
    int G, rows, n;
    struct grid grid;
    bool act_order, static_groups, drift;
    int sweeps, rounds;
};

/* One matrix, on the host. */
struct matrix {
    const struct refine_case *c;
    int n_groups;
    const double *w, *h, *d; /* [rows, n]; [n, n], damped; [n, n] */
    const int32_t *order, *g_idx;
    int *codes;                            /* [rows, n] */
    double *scales;                        /* [n_groups, rows] */
    const uint8_t *zeros;                  /* [n_groups, rows] */
    double *system, *whole, *slope, *step; /* of a row\'s scales */
};

static size_t grid_at(const struct matrix *m, int row, int column) {
    return (size_t)m->g_idx[column] * (size_t)m->c->rows + (size_t)row;
}

static double steps_at(const struct matrix *m, int row, int column) {
    return m->codes[(size_t)row * (size_t)m->c->n + (size_t)column] -
           m->zeros[grid_at(m, row, column)];
}

/* e [n] and gradient [n] of one row; returns its objective, and the sum of |terms|. */
static double evaluate(const struct matrix *m, int row, double *e, double *gradient,
                       double *ret_size) {
    int n = m->c->n;
    const double *w = m->w + (size_t)row * (size_t)n;
    double sum = 0;

    *ret_size = 0;
    for (int j = 0; j < n; j++)
        e[j] = m->scales[grid_at(m, row, j)] * steps_at(m, row, j) - w[j];
    for (int j = 0; j < n; j++) {
        double product = 0, drift = 0;

        for (int i = 0; i < n; i++) {
            product += e[i] * m->h[(size_t)i * (size_t)n + (size_t)j];
            drift += m->d ? w[i] * m->d[(size_t)i * (size_t)n + (size_t)j] : 0;
        }
        gradient[j] = product - drift;
        sum += e[j] * (product - 2 * drift);
        *ret_size += fabs(e[j] * product) + fabs(2 * e[j] * drift);
    }
    return sum;
}

static void ref_sweep(const struct matrix *m, int row, double *gradient) {
    int n = m->c->n;

    for (int k = 0; k < n; k++) {
        int j = m->order[k];
        const double *h = m->h + (size_t)j * (size_t)n;
        double scale = m->scales[grid_at(m, row, j)], zero = m->zeros[grid_at(m, row, j)];
        double q = scale * steps_at(m, row, j), change;
        int code = ref_code(q - gradient[j] / h[j], scale, zero, m->c->grid.wbits);

        m->codes[(size_t)row * (size_t)n + (size_t)j] = code;
        change = scale * (code - zero) - q;
        for (int i = 0; i < n; i++)
            gradient[i] += change * h[i];
    }
}

/* Gaussian elimination of a [n, n] x = b, a positive definite; x in b. */
static void solve(double *a, double *b, int n) {
    for (int k = 0; k < n; k++) {
        for (int i = k + 1; i < n; i++) {
            double f = a[i * n + k] / a[k * n + k];

            for (int j = k; j < n; j++)
                a[i * n + j] -= f * a[k * n + j];
            b[i] -= f * b[k];
        }
    }
    for (int i = n - 1; i >= 0; i--) {
        for (int j = i + 1; j < n; j++)
            b[i] -= a[i * n + j] * b[j];
        b[i] /= a[i * n + i];
    }
}

static double to_f16(double scale) {
    return (double)f16_to_f32(f32_to_f16((float)fmin(fmax(scale, 0x1p-24), 65504)));
}

/* The system of one row: a [n_groups, n_groups] without ridge, and the slopes. */
static void find_system(const struct matrix *m, int row, const double *gradient, double *a,
                        double *slope) {
    int n = m->c->n, n_groups = m->n_groups;

    memset(a, 0, (size_t)(n_groups * n_groups) * sizeof(*a));
    memset(slope, 0, (size_t)n_groups * sizeof(*slope));
    for (int i = 0; i < n; i++) {
        slope[m->g_idx[i]] += gradient[i] * steps_at(m, row, i);
        for (int j = 0; j < n; j++)
            a[m->g_idx[i] * n_groups + m->g_idx[j]] +=
                steps_at(m, row, i) * steps_at(m, row, j) * m->h[(size_t)i * (size_t)n + (size_t)j];
    }
}

static void ref_scales(const struct matrix *m, int row, const double *gradient) {
    double *a = m->system, *whole = m->whole, *slope = m->slope, *step = m->step, trace = 0;
    double change = 0;
    int n = m->n_groups;

    find_system(m, row, gradient, whole, slope);
    memcpy(a, whole, (size_t)(n * n) * sizeof(*a));
    for (int i = 0; i < n; i++)
        trace += a[i * n + i];
    if (trace == 0)
        return;
    for (int i = 0; i < n; i++) {
        a[i * n + i] += 1e-4 * trace / n;
        step[i] = -slope[i];
    }
    solve(a, step, n);
    for (int i = 0; i < n; i++) {
        double old = m->scales[i * m->c->rows + row], scale = to_f16(old + step[i]);

        step[i] = scale >= 0.5 * old && scale <= 1.5 * old ? scale - old : 0;
    }
    for (int i = 0; i < n; i++) {
        change += 2 * slope[i] * step[i];
        for (int j = 0; j < n; j++)
            change += step[i] * whole[i * n + j] * step[j];
    }
    for (int i = 0; i < n && change < 0; i++)
        m->scales[i * m->c->rows + row] += step[i];
}

static double ref_refine_row(const struct matrix *m, int row, double *e, double *gradient) {
    double size;

    evaluate(m, row, e, gradient, &size);
    for (int round = 0; round < m->c->rounds; round++) {
        for (int i = 0; i < m->c->sweeps; i++)
            ref_sweep(m, row, gradient);
        ref_scales(m, row, gradient);
        evaluate(m, row, e, gradient, &size);
    }
    return evaluate(m, row, e, gradient, &size);
}

/* -------- a case -------- */

/* What is on the device, and its copy on the host. */
struct device {
    struct refinement r;
    struct span u, order; /* of gptq(), before */
    float damp[4];
    int n_groups;
    float *w, *h, *d;
    int32_t *perm, *g_idx;
    struct span scratch;
};

/* The spans of one run, on the host. */
struct state {
    uint8_t *codes, *zeros;
    uint16_t *scales;
};

static struct span maybe_span(struct sweep *s, size_t size) {
    return size > 0 ? sweep_span(s, size) : (struct span){};
}

static void take_drift(struct sweep *s, const struct refine_case *c, struct device *d) {
    size_t n = (size_t)c->G * (size_t)c->n * (size_t)c->n;

    if (!c->drift)
        return;
    d->d = sweep_host(s, n, sizeof(float));
    for (size_t i = 0; i < n; i++)
        d->d[i] = (float)(2 * sweep_uniform(s) - 1) * 0.1f;
    d->r.d = sweep_upload(s, d->d, n * sizeof(float));
}

static struct device take_device(struct sweep *s, const struct refine_case *c) {
    size_t n = (size_t)c->n, weights = (size_t)c->G * (size_t)c->rows * n;
    size_t square = (size_t)c->G * n * n * sizeof(float), rows = (size_t)c->G * (size_t)c->rows;
    struct device d = {.n_groups = c->n / c->grid.groupsize, .damp = {0.01f, 0.02f, 0.01f, 0.1f}};

    d.r = (struct refinement){
        .damp = NULL,
        .wbits = c->grid.wbits,
        .groupsize = c->grid.groupsize,
        .sweeps = c->sweeps,
        .rounds = c->rounds,
    };
    d.w = sweep_random_act(s, weights, 1, &d.r.w);
    d.h = sweep_random_hessian(s, c->G, c->n);
    d.r.h = sweep_upload(s, d.h, square);
    take_drift(s, c, &d);
    d.u = sweep_span(s, square);
    d.r.square = d.u;
    d.order = sweep_span(s, (size_t)c->G * n * 4);
    d.r.perm = sweep_span(s, (size_t)c->G * n * 4);
    d.r.before = sweep_span(s, rows * 4);
    d.r.after = sweep_span(s, rows * 4);
    d.r.dq = sweep_span(s, sweep_act_size(s, weights));
    d.r.q = (struct quantized){
        sweep_span(s, weights),
        sweep_span(s, rows * (size_t)d.n_groups * 2),
        sweep_span(s, rows * (size_t)d.n_groups),
        sweep_span(s, (size_t)c->G * n * 4),
    };
    return d;
}

static bool run_gptq(struct sweep *s, const struct refine_case *c, struct device *d) {
    const struct backend_ops *ops = s->ops;
    struct span factor = maybe_span(s, ops->factor_scratch(s->b, c->G, c->n));
    struct span gptq = maybe_span(s, ops->gptq_scratch(s->b, c->G, c->rows, c->n, false));
    int32_t info[4];
    float condition[4];

    return sweep_ok(s, ops->hessian_order(s->b, d->order, d->r.h, c->G, c->n, c->act_order),
                    "hessian_order") &&
           sweep_ok(s,
                    ops->factor(s->b, d->u, d->r.h, d->order, d->damp, info, condition, c->G, c->n,
                                factor),
                    "factor") &&
           sweep_ok(s,
                    ops->gptq(s->b, &d->r.q, d->r.dq, d->r.w, d->u, d->order, (struct span){},
                              d->r.h, &c->grid, c->static_groups, c->G, c->rows, c->n, gptq),
                    "gptq") &&
           sweep_ok(s, ops->hessian_order(s->b, d->r.perm, d->r.h, c->G, c->n, true),
                    "hessian_order");
}

static struct state read_state(struct sweep *s, const struct refine_case *c,
                               const struct device *d) {
    size_t rows = (size_t)c->G * (size_t)c->rows, grids = rows * (size_t)d->n_groups;

    return (struct state){
        .codes = sweep_read(s, d->r.q.codes, rows * (size_t)c->n),
        .scales = sweep_read(s, d->r.q.scales, grids * 2),
        .zeros = sweep_read(s, d->r.q.zeros, grids),
    };
}

/* Matrix @g with the codes and scales of @state; h is damped. */
static struct matrix matrix_of(struct sweep *s, const struct refine_case *c, const struct device *d,
                               const struct state *state, int g) {
    size_t n = (size_t)c->n, weights = (size_t)c->rows * n, square = n * n;
    size_t grids = (size_t)d->n_groups * (size_t)c->rows, at = (size_t)g;
    double *h = sweep_host(s, square, sizeof(*h)), mean = 0;
    struct matrix m = {.c = c, .n_groups = d->n_groups, .h = h};

    m.w = sweep_doubles(s, d->w + at * weights, weights);
    m.d = d->d ? sweep_doubles(s, d->d + at * square, square) : NULL;
    m.order = d->perm + at * n;
    m.g_idx = d->g_idx + at * n;
    m.zeros = state->zeros + at * grids;
    m.codes = sweep_host(s, weights, sizeof(int));
    m.scales = sweep_host(s, grids, sizeof(double));
    m.system = sweep_host(s, (size_t)(d->n_groups * d->n_groups), sizeof(double));
    m.whole = sweep_host(s, (size_t)(d->n_groups * d->n_groups), sizeof(double));
    m.slope = sweep_host(s, (size_t)d->n_groups, sizeof(double));
    m.step = sweep_host(s, (size_t)d->n_groups, sizeof(double));
    for (size_t i = 0; i < weights; i++)
        m.codes[i] = state->codes[at * weights + i];
    for (size_t i = 0; i < grids; i++)
        m.scales[i] = (double)f16_to_f32(state->scales[at * grids + i]);
    for (size_t i = 0; i < square; i++) {
        size_t a = MAX(i / n, i % n), b = MIN(i / n, i % n);

        h[i] = (double)d->h[at * square + a * n + b];
        if (a == b)
            mean += (h[i] = h[i] == 0 ? 1 : h[i]) / (double)n;
    }
    for (size_t i = 0; i < n; i++)
        h[i * n + i] += (double)d->damp[g] * mean;
    return m;
}

/* What a backend says of matrix @g before and after, against what it is. */
static void check_matrix(struct sweep *s, const struct refine_case *c, const struct device *d,
                         const struct state *first, const struct state *last, int g) {
    struct matrix was = matrix_of(s, c, d, first, g), is = matrix_of(s, c, d, last, g);
    float *before = sweep_read(s, d->r.before, (size_t)c->G * (size_t)c->rows * 4);
    float *after = sweep_read(s, d->r.after, (size_t)c->G * (size_t)c->rows * 4);
    double *e = sweep_host(s, (size_t)c->n, sizeof(*e));
    double *gradient = sweep_host(s, (size_t)c->n, sizeof(*gradient)), got = 0, want = 0, start = 0;
    int same = 0;

    for (int row = 0; row < c->rows; row++) {
        size_t at = (size_t)g * (size_t)c->rows + (size_t)row, codes = (size_t)(row * c->n);
        double size, a = evaluate(&was, row, e, gradient, &size), b;
        double tolerance = TOL_OBJECTIVE * size;

        sweep_check(s, fabs((double)before[at] - a) <= tolerance,
                    "refine: objective %g before, not %g", (double)before[at], a);
        b = evaluate(&is, row, e, gradient, &size);
        tolerance = fmax(tolerance, TOL_OBJECTIVE * size);
        sweep_check(s, fabs((double)after[at] - b) <= tolerance,
                    "refine: objective %g after, not %g", (double)after[at], b);
        sweep_check(s, after[at] <= before[at], "refine: from %g to %g", (double)before[at],
                    (double)after[at]);
        start += a;
        got += b;
        want += fmin(a, ref_refine_row(&was, row, e, gradient));
        same += memcmp(was.codes + codes, is.codes + codes, (size_t)c->n * sizeof(int)) == 0;
    }
    sweep_check(s, got - want <= TOL_TOTAL * fabs(want),
                "refine: objective of matrix %d from %g to %g, the reference's %g", g, start, got,
                want);
    sweep_check(s, same >= SAME_ROWS * c->rows, "refine: %d of %d rows are the reference's", same,
                c->rows);
}

/* Every dq is its code on its grid, and zeros stay. */
static void check_dq(struct sweep *s, const struct refine_case *c, const struct device *d,
                     const struct state *first, const struct state *last) {
    size_t n = (size_t)c->n, rows = (size_t)c->rows, weights = (size_t)c->G * rows * n;
    double *want = sweep_host(s, weights, sizeof(*want));

    for (size_t i = 0; i < weights; i++) {
        size_t g = i / n / rows, row = i / n % rows, group = (size_t)d->g_idx[g * n + i % n];
        size_t at = (g * (size_t)d->n_groups + group) * rows + row;

        want[i] = (double)f16_to_f32(last->scales[at]) * (last->codes[i] - last->zeros[at]);
    }
    sweep_expect(s, "refine dq", sweep_read_act(s, d->r.dq, weights), want, weights, 0, SWEEP_ACT);
    sweep_check(s,
                memcmp(first->zeros, last->zeros, (size_t)c->G * rows * (size_t)d->n_groups) == 0,
                "refine: other zeros");
}

static void refine_case(struct sweep *s, const struct refine_case *c) {
    struct device d;
    struct state first, last;

    sweep_begin(s);
    d = take_device(s, c);
    d.r.damp = d.damp;
    if (run_gptq(s, c, &d)) {
        first = read_state(s, c, &d);
        d.perm = sweep_read(s, d.r.perm, (size_t)(c->G * c->n) * 4);
        d.g_idx = sweep_read(s, d.r.q.g_idx, (size_t)(c->G * c->n) * 4);
        d.scratch = maybe_span(s, s->ops->refine_scratch(s->b, &d.r, c->G, c->rows, c->n));
        if (sweep_ok(s, s->ops->refine(s->b, &d.r, c->G, c->rows, c->n, d.scratch), "refine")) {
            last = read_state(s, c, &d);
            check_dq(s, c, &d, &first, &last);
            for (int g = 0; g < c->G; g++)
                check_matrix(s, c, &d, &first, &last, g);
        }
    }
    sweep_end(s);
}

void sweep_refine(struct sweep *s) {
    static const struct refine_case cases[] = {
        /* G, rows, n, grid, act_order, static_groups, drift, sweeps, rounds */
        {1, 1, 8, {4, 8, false, GRID_MINMAX}, false, false, false, 1, 1},
        {3, 5, 8, {4, 8, true, GRID_MINMAX}, true, false, false, 2, 2},
        {1, 65, 136, {3, 136, false, GRID_MINMAX}, true, false, false, 3, 2},
        {1, 17, 264, {2, 8, false, GRID_MINMAX}, false, false, true, 2, 2},
        {2, 33, 288, {4, 48, false, GRID_HESSIAN}, true, false, true, 3, 2},
        {2, 17, 256, {3, 128, false, GRID_HESSIAN}, true, true, true, 3, 2},
        {1, 17, 256, {2, 64, true, GRID_MSE}, true, true, false, 1, 3},
        {1, 130, 512, {4, 128, false, GRID_HESSIAN}, true, true, true, 3, 2},
        {1, 17, 400, {8, 200, false, GRID_MINMAX}, false, false, false, 2, 1},
        {2, 9, 128, {3, 32, false, GRID_MINMAX}, true, true, false, 0, 1}, /* scales alone */
        {2, 9, 128, {3, 32, false, GRID_MINMAX}, true, true, true, 2, 0},  /* only measured */
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        refine_case(s, &cases[i]);
}
