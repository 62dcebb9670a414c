// SPDX-License-Identifier: Apache-2.0
/*
 * K grids: rtn(), gptq(), refine() and dequantize(). A search has no one right answer, so the grids
 * must be such as the contract names and better than the plain ones of the weights' range; what is
 * computed on these grids is compared with plain loops in double.
 */
#include "tests/kernels/reference.h"
#include "tests/kernels/sweep.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define TIE 2e-3       /* of a step: a weight so close to the middle may take either code */
#define TIED_ROWS 0.03 /* rows that may part from the reference for that, and one more */
#define GAIN 0.95      /* of the error of plain grids, at most */
#define TOL_OBJECTIVE 1e-3

struct kgrid_case {
    int G, rows, n;
    struct grid grid;
    bool act_order, drift;
};

struct device {
    struct quantized q;
    struct span dq, w, h, u, perm, p, before, after;
    float *w_host, *h_host, *u_host, *p_host;
    int32_t *order;
    float damp[4];
    int n_groups, n_supers;
};

/* What a backend made, on the host. */
struct outcome {
    uint8_t *codes, *zeros;
    uint16_t *scales, *d, *dmin; /* dmin NULL: symmetric */
    int32_t *g_idx;
    float *dq;
};

struct point {
    double scale, zero, min;
};

static struct span maybe_span(struct sweep *s, size_t size) {
    return size > 0 ? sweep_span(s, size) : (struct span){};
}

static size_t n_rows(const struct kgrid_case *c) {
    return (size_t)c->G * (size_t)c->rows;
}

static void take_outputs(struct sweep *s, const struct kgrid_case *c, struct device *d) {
    size_t rows = n_rows(c), weights = rows * (size_t)c->n;

    d->q = (struct quantized){
        .codes = sweep_span(s, weights),
        .scales = sweep_span(s, rows * (size_t)d->n_groups * 2),
        .zeros = sweep_span(s, rows * (size_t)d->n_groups),
        .g_idx = sweep_span(s, (size_t)(c->G * c->n) * 4),
        .d = sweep_span(s, rows * (size_t)d->n_supers * 2),
        .dmin = maybe_span(s, c->grid.sym ? 0 : rows * (size_t)d->n_supers * 2),
    };
    d->dq = sweep_span(s, sweep_act_size(s, weights));
}

/* Weights whose groups differ in size; a row of zeros, a row that is not negative. */
static void take_weights(struct sweep *s, const struct kgrid_case *c, struct device *d) {
    size_t n = (size_t)c->n, weights = n_rows(c) * n;
    float *w = sweep_random_act(s, weights, 1, &d->w);

    for (size_t i = 0; i < weights; i++)
        w[i] *= (float)(1 << i / 16 % 3) / 4;
    for (size_t i = 0; i < n && weights > 5 * n; i++) {
        w[i] = 0;
        w[n + i] = fabsf(w[n + i]);
    }
    d->w = sweep_upload_act(s, w, weights);
    d->w_host = w;
}

static bool take_factor(struct sweep *s, const struct kgrid_case *c, struct device *d) {
    size_t n = (size_t)c->n, square = (size_t)c->G * n * n * 4;
    struct span scratch = maybe_span(s, s->ops->factor_scratch(s->b, c->G, c->n));
    float condition[4];
    int32_t info[4];
    bool done;

    for (int g = 0; g < c->G; g++)
        d->damp[g] = 0.01f;
    d->h_host = sweep_random_hessian(s, c->G, c->n);
    d->h = sweep_upload(s, d->h_host, square);
    d->u = sweep_span(s, square);
    d->perm = sweep_span(s, (size_t)c->G * n * 4);
    done = sweep_ok(s, s->ops->hessian_order(s->b, d->perm, d->h, c->G, c->n, c->act_order),
                    "hessian_order") &&
           sweep_ok(s,
                    s->ops->factor(s->b, d->u, d->h, d->perm, d->damp, info, condition, c->G, c->n,
                                   scratch),
                    "factor");
    d->u_host = sweep_read(s, d->u, square);
    d->order = sweep_read(s, d->perm, (size_t)c->G * n * 4);
    if (!c->drift)
        return done;
    d->p_host = sweep_host(s, (size_t)c->G * n * n, sizeof(float));
    for (size_t i = 0; i < (size_t)c->G * n * n; i++)
        d->p_host[i] = i / n % n < i % n ? (float)(2 * sweep_uniform(s) - 1) / (float)n : -1e30f;
    d->p = sweep_upload(s, d->p_host, square);
    return done;
}

static struct outcome read_outcome(struct sweep *s, const struct kgrid_case *c,
                                   const struct device *d) {
    size_t rows = n_rows(c), weights = rows * (size_t)c->n, units = rows * (size_t)d->n_supers * 2;

    return (struct outcome){
        .codes = sweep_read(s, d->q.codes, weights),
        .zeros = sweep_read(s, d->q.zeros, rows * (size_t)d->n_groups),
        .scales = sweep_read(s, d->q.scales, rows * (size_t)d->n_groups * 2),
        .g_idx = sweep_read(s, d->q.g_idx, (size_t)(c->G * c->n) * 4),
        .d = sweep_read(s, d->q.d, units),
        .dmin = c->grid.sym ? NULL : sweep_read(s, d->q.dmin, units),
        .dq = sweep_read_act(s, d->dq, weights),
    };
}

/* The grid of column @i of row @row, of all rows of all matrices. */
static struct point point_at(const struct kgrid_case *c, const struct outcome *o, size_t row,
                             size_t i) {
    size_t rows = (size_t)c->rows, n = (size_t)c->n, g = row / rows;
    size_t group = i / (size_t)c->grid.groupsize, n_groups = n / (size_t)c->grid.groupsize;
    size_t at = (g * n_groups + group) * rows + row % rows;
    size_t super = (g * (n / GRID_SUPER) + i / GRID_SUPER) * rows + row % rows;
    double scale = (double)f16_to_f32(o->d[super]) * (double)f16_to_f32(o->scales[at]);

    if (!o->dmin)
        return (struct point){scale, o->zeros[at], 0};
    return (struct point){scale, 0, (double)f16_to_f32(o->dmin[super]) * o->zeros[at]};
}

static double value_of(const struct point *p, int code) {
    return p->scale * (code - p->zero) - p->min;
}

static int code_of(const struct point *p, double w, int wbits) {
    return ref_code(w + p->min, p->scale, p->zero, wbits);
}

/* ---- the grids ---- */

static void check_grids(struct sweep *s, const struct kgrid_case *c, const struct device *d,
                        const struct outcome *o, const char *what) {
    double least = c->grid.sym ? -(1 << (c->grid.sub_bits - 1)) : 1;
    double most = least + (1 << c->grid.sub_bits) - (c->grid.sym ? 1 : 2);
    size_t n_grids = n_rows(c) * (size_t)d->n_groups, n_units = n_rows(c) * (size_t)d->n_supers;
    bool right = true;

    for (size_t i = 0; i < n_grids; i++) {
        double scale = (double)f16_to_f32(o->scales[i]);

        right &= scale == rint(scale) && scale >= least && scale <= most && scale != 0;
        right &= c->grid.sym ? o->zeros[i] == 1 << (c->grid.wbits - 1)
                             : o->zeros[i] < 1 << c->grid.sub_bits;
    }
    for (size_t i = 0; i < n_units; i++)
        right &= isfinite(f16_to_f32(o->d[i])) && f16_to_f32(o->d[i]) != 0 &&
                 (!o->dmin || f16_to_f32(o->dmin[i]) >= 0);
    for (size_t i = 0; i < (size_t)(c->G * c->n); i++)
        right &= o->g_idx[i] == (int)(i % (size_t)c->n) / c->grid.groupsize;
    sweep_check(s, right, "%s: %d bits: no K grid", what, c->grid.wbits);
}

/* Every dq is its code on its grid, and so says dequantize(). */
static void check_dq(struct sweep *s, const struct kgrid_case *c, const struct device *d,
                     const struct outcome *o) {
    size_t n = (size_t)c->n, weights = n_rows(c) * n;
    double *want = sweep_host(s, weights, sizeof(*want));
    struct span w = sweep_span(s, sweep_act_size(s, weights));

    for (size_t i = 0; i < weights; i++) {
        struct point p = point_at(c, o, i / n, i % n);

        want[i] = (double)(float)value_of(&p, o->codes[i]);
    }
    sweep_expect(s, "K dq", o->dq, want, weights, 0, SWEEP_ACT);
    if (sweep_ok(s, s->ops->dequantize(s->b, w, &d->q, d->n_groups, c->G, c->rows, c->n),
                 "dequantize"))
        sweep_check(s, memcmp(sweep_read_act(s, w, weights), o->dq, weights * sizeof(float)) == 0,
                    "dequantize: not what was quantized");
}

/* The error of a group on the plain grid of its range, whose counts are the nearest in units that
 * the largest scale and minimum of the row need. */
static double plain_error(const struct kgrid_case *c, const float *w, double unit,
                          double min_unit) {
    double lo = 0, hi = 0, sum = 0;
    struct point p = {.zero = c->grid.sym ? 1 << (c->grid.wbits - 1) : 0};

    for (int i = 0; i < c->grid.groupsize; i++) {
        lo = fmin(lo, (double)w[i]);
        hi = fmax(hi, (double)w[i]);
    }
    p.scale = c->grid.sym ? fmax(hi, -lo) / p.zero : (hi - lo) / ((1 << c->grid.wbits) - 1);
    p.scale = unit * fmax(rint(p.scale / unit), 1);
    p.min = c->grid.sym || min_unit == 0 ? 0 : min_unit * rint(-lo / min_unit);
    for (int i = 0; i < c->grid.groupsize; i++) {
        double e = value_of(&p, code_of(&p, (double)w[i], c->grid.wbits)) - (double)w[i];

        sum += e * e;
    }
    return sum;
}

/* The units that plain_error() wants. */
static void plain_units(const struct kgrid_case *c, const float *w, double *ret_unit,
                        double *ret_min_unit) {
    double scale = 0, min = 0;

    for (int k = 0; k < GRID_SUPER; k += c->grid.groupsize) {
        double lo = 0, hi = 0;

        for (int i = k; i < k + c->grid.groupsize; i++) {
            lo = fmin(lo, (double)w[i]);
            hi = fmax(hi, (double)w[i]);
        }
        scale = fmax(scale, c->grid.sym ? fmax(hi, -lo) / (1 << (c->grid.wbits - 1))
                                        : (hi - lo) / ((1 << c->grid.wbits) - 1));
        min = fmax(min, -lo);
    }
    *ret_unit = scale > 0 ? scale / ((1 << (c->grid.sub_bits - c->grid.sym)) - 1) : 1;
    *ret_min_unit = min / ((1 << c->grid.sub_bits) - 1);
}

/* rtn(): codes are the nearest ones, and there are no plain grids nearly as good. */
static void check_rtn(struct sweep *s, const struct kgrid_case *c, const struct outcome *o,
                      const struct device *d) {
    size_t n = (size_t)c->n;
    double error = 0, plain = 0, unit = 0, min_unit = 0;
    int wrong = 0;

    for (size_t i = 0; i < n_rows(c) * n; i++) {
        struct point p = point_at(c, o, i / n, i % n);
        double w = (double)d->w_host[i], steps = (w + p.min) / p.scale;
        double e = value_of(&p, o->codes[i]) - w;

        wrong += o->codes[i] != code_of(&p, w, c->grid.wbits) &&
                 fabs(fabs(steps - rint(steps)) - 0.5) > TIE;
        error += e * e;
        if (i % GRID_SUPER == 0)
            plain_units(c, d->w_host + i, &unit, &min_unit);
        if (i % (size_t)c->grid.groupsize == 0)
            plain += plain_error(c, d->w_host + i, unit, min_unit);
    }
    sweep_check(s, wrong == 0, "K rtn: %d codes are not the nearest", wrong);
    sweep_check(s, error <= GAIN * plain, "K rtn: %d bits: error %g, of plain grids %g",
                c->grid.wbits, error, plain);
}

/* ---- the column loop ---- */

/* One row: 0 agrees, 1 parts at a tie, 2 is wrong. */
static int compare_row(const struct kgrid_case *c, const struct device *d, const struct outcome *o,
                       size_t row, double *w) {
    size_t n = (size_t)c->n, g = row / (size_t)c->rows;
    const float *u = d->u_host + g * n * n, *p = d->p_host ? d->p_host + g * n * n : NULL;

    for (size_t i = 0; i < n; i++)
        w[i] = (double)d->w_host[row * n + (size_t)d->order[g * n + i]];
    for (size_t i = 0; i < n; i++) {
        size_t column = (size_t)d->order[g * n + i];
        struct point at = point_at(c, o, row, column);
        int code = code_of(&at, w[i], c->grid.wbits), got = o->codes[row * n + column];
        double steps = (w[i] + at.min) / at.scale, before = w[i];
        double error = (w[i] - value_of(&at, code)) / (double)u[i * n + i];

        if (got != code)
            return abs(got - code) == 1 && fabs(fabs(steps - rint(steps)) - 0.5) < TIE ? 1 : 2;
        for (size_t j = i + 1; j < n; j++)
            w[j] += (p ? before * (double)p[i * n + j] : 0) - error * (double)u[i * n + j];
    }
    return 0;
}

static void check_gptq(struct sweep *s, const struct kgrid_case *c, const struct outcome *o,
                       const struct device *d) {
    double *w = sweep_host(s, (size_t)c->n, sizeof(*w));
    int n[3] = {0};

    for (size_t row = 0; row < n_rows(c); row++)
        n[compare_row(c, d, o, row, w)]++;
    sweep_check(s, n[2] == 0 && n[1] <= 1 + TIED_ROWS * (double)n_rows(c),
                "K gptq: %dx%d, %d bits%s%s: %d rows wrong, %d part at a tie", c->rows, c->n,
                c->grid.wbits, c->act_order ? ", act_order" : "", c->drift ? ", drift" : "", n[2],
                n[1]);
}

/* ---- refinement ---- */

/* e H e' of the damped H, which is what refine() lowers without drift. */
static double objective(const struct kgrid_case *c, const struct device *d, const struct outcome *o,
                        size_t row, double *e) {
    size_t n = (size_t)c->n, g = row / (size_t)c->rows;
    const float *h = d->h_host + g * n * n;
    double mean = 0, sum = 0;

    for (size_t i = 0; i < n; i++) {
        struct point p = point_at(c, o, row, i);

        e[i] = value_of(&p, o->codes[row * n + i]) - (double)d->w_host[row * n + i];
        mean += (h[i * n + i] == 0 ? 1 : (double)h[i * n + i]) / (double)n;
        sum += h[i * n + i] == 0 ? e[i] * e[i] : 0;
    }
    for (size_t i = 0; i < n; i++)
        sum += (double)d->damp[g] * mean * e[i] * e[i];
    return sum + ref_quadratic(e, h, c->n);
}

static void check_refine(struct sweep *s, const struct kgrid_case *c, const struct device *d,
                         const struct outcome *first) {
    struct outcome last = read_outcome(s, c, d);
    size_t rows = n_rows(c), grids = rows * (size_t)d->n_groups, units = rows * (size_t)d->n_supers;
    float *before = sweep_read(s, d->before, rows * 4), *after = sweep_read(s, d->after, rows * 4);
    double *e = sweep_host(s, (size_t)c->n, sizeof(*e)), was = 0, is = 0;

    sweep_check(s,
                !memcmp(first->scales, last.scales, grids * 2) &&
                    !memcmp(first->zeros, last.zeros, grids) &&
                    !memcmp(first->d, last.d, units * 2) &&
                    (!last.dmin || !memcmp(first->dmin, last.dmin, units * 2)),
                "K refine: the grids do not stay");
    check_dq(s, c, d, &last);
    for (size_t row = 0; row < rows; row++) {
        double a = objective(c, d, first, row, e), b = objective(c, d, &last, row, e);

        sweep_check(s,
                    fabs((double)before[row] - a) <= TOL_OBJECTIVE * a &&
                        fabs((double)after[row] - b) <= TOL_OBJECTIVE * a &&
                        after[row] <= before[row],
                    "K refine: from %g to %g, which is %g to %g", (double)before[row],
                    (double)after[row], a, b);
        was += a;
        is += b;
    }
    sweep_check(s, is < was, "K refine: objective from %g to %g", was, is);
}

static void refine(struct sweep *s, const struct kgrid_case *c, struct device *d,
                   const struct outcome *first) {
    struct refinement r = {.q = d->q,
                           .dq = d->dq,
                           .w = d->w,
                           .h = d->h,
                           .damp = d->damp,
                           .wbits = c->grid.wbits,
                           .groupsize = c->grid.groupsize,
                           .sweeps = 3,
                           .rounds = 2};

    r.perm = d->perm;
    r.square = d->u;
    r.before = d->before = sweep_span(s, n_rows(c) * 4);
    r.after = d->after = sweep_span(s, n_rows(c) * 4);
    if (sweep_ok(s, s->ops->hessian_order(s->b, d->perm, d->h, c->G, c->n, true),
                 "hessian_order") &&
        sweep_ok(
            s,
            s->ops->refine(s->b, &r, c->G, c->rows, c->n,
                           maybe_span(s, s->ops->refine_scratch(s->b, &r, c->G, c->rows, c->n))),
            "refine"))
        check_refine(s, c, d, first);
}

/* ---- cases ---- */

static void refusals(struct sweep *s, const struct kgrid_case *c, struct device *d) {
    struct quantized q = d->q;
    struct grid grid = c->grid;
    struct span scratch = maybe_span(s, s->ops->gptq_scratch(s->b, c->G, c->rows, c->n, false));

    sweep_check(s,
                s->ops->gptq(s->b, &q, d->dq, d->w, d->u, d->perm, (struct span){}, d->h, &grid,
                             false, c->G, c->rows, c->n, scratch) == -EINVAL,
                "gptq: a K grid that is not static is not refused");
    grid.fit = GRID_MSE;
    q.d = (struct span){};
    sweep_check(s, s->ops->rtn(s->b, &q, d->dq, d->w, &grid, c->G, c->rows, c->n) == -EINVAL,
                "rtn: a K grid without d is not refused");
    sweep_check(s, s->ops->rtn(s->b, &d->q, d->dq, d->w, &grid, c->G, c->rows, 128) == -EINVAL,
                "rtn: half a super-block is not refused");
}

static void kgrid_case(struct sweep *s, const struct kgrid_case *c) {
    struct device d = {.n_groups = c->n / c->grid.groupsize, .n_supers = c->n / GRID_SUPER};
    struct grid nearest = c->grid;
    struct outcome o;

    sweep_begin(s);
    take_weights(s, c, &d);
    take_outputs(s, c, &d);
    nearest.fit = GRID_MSE;
    if (sweep_ok(s, s->ops->rtn(s->b, &d.q, d.dq, d.w, &nearest, c->G, c->rows, c->n), "rtn")) {
        o = read_outcome(s, c, &d);
        check_grids(s, c, &d, &o, "K rtn");
        check_dq(s, c, &d, &o);
        check_rtn(s, c, &o, &d);
    }
    take_outputs(s, c, &d);
    if (take_factor(s, c, &d) &&
        sweep_ok(
            s,
            s->ops->gptq(s->b, &d.q, d.dq, d.w, d.u, d.perm, d.p, d.h, &c->grid, true, c->G,
                         c->rows, c->n,
                         maybe_span(s, s->ops->gptq_scratch(s->b, c->G, c->rows, c->n, c->drift))),
            "gptq")) {
        o = read_outcome(s, c, &d);
        check_grids(s, c, &d, &o, "K gptq");
        check_dq(s, c, &d, &o);
        check_gptq(s, c, &o, &d);
        refine(s, c, &d, &o);
    }
    refusals(s, c, &d);
    sweep_end(s);
}

void sweep_kgrid(struct sweep *s) {
    static const struct kgrid_case cases[] = {
        /* G, rows, n, {wbits, groupsize, sym, fit, sub_bits}, act_order, drift */
        {1, 1, 256, {4, 32, false, GRID_HESSIAN, 6}, false, false},
        {2, 65, 256, {4, 32, false, GRID_HESSIAN, 6}, true, false},
        {1, 33, 768, {2, 16, false, GRID_HESSIAN, 4}, true, true},
        {2, 17, 512, {2, 16, false, GRID_MSE, 4}, false, false},
        {3, 9, 512, {3, 16, true, GRID_HESSIAN, 6}, true, true},
        {1, 130, 256, {3, 16, true, GRID_MSE, 6}, false, false},
        {1, 5, 512, {4, 256, false, GRID_HESSIAN, 8}, true, false}, /* a group a super-block */
        {1, 5, 256, {8, 8, true, GRID_HESSIAN, 4}, false, false},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        kgrid_case(s, &cases[i]);
}
