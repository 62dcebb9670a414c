// SPDX-License-Identifier: Apache-2.0
/* GPTQ, round to nearest, output error and dequantization. */
#include "tests/kernels/reference.h"
#include "tests/kernels/sweep.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define TOL_ERROR                                                                                  \
    1e-4 /* of a quadratic form: terms of both signs, and the square of a difference */

/*
 * A weight this close to the middle of two codes may take either: by then f32 has rounded some
 * hundred updates. After that the rest of the row rightly differs.
 */
#define TIE 2e-3
/* Rows that may differ from the reference for such a tie: one, and this part of all. */
#define TIED_ROWS 0.03

struct quantize_case {
    int G, rows, n;
    struct grid grid;
    bool act_order, static_groups, drift;
};

/* What a backend made of one case, on the host. */
struct outcome {
    uint8_t *codes, *zeros;
    uint16_t *scales;
    int32_t *g_idx;
    float *dq;
};

struct device {
    struct quantized q;
    struct span dq, w, h, u, perm, p;
    int n_groups;
    float *w_host, *h_host, *u_host, *p_host; /* p_host: NULL without drift */
    int32_t *order;
};

static struct span maybe_span(struct sweep *s, size_t size) {
    return size > 0 ? sweep_span(s, size) : (struct span){};
}

static void take_outputs(struct sweep *s, struct device *d, const struct quantize_case *c) {
    size_t n = (size_t)c->n, weights = (size_t)c->G * (size_t)c->rows * n;
    size_t grids = (size_t)c->G * (size_t)d->n_groups * (size_t)c->rows;

    d->q.codes = sweep_span(s, weights);
    d->q.scales = sweep_span(s, grids * 2);
    d->q.zeros = sweep_span(s, grids);
    d->q.g_idx = sweep_span(s, (size_t)c->G * n * 4);
    d->dq = sweep_span(s, sweep_act_size(s, weights));
}

static struct device prepare(struct sweep *s, const struct quantize_case *c) {
    size_t n = (size_t)c->n, weights = (size_t)c->G * (size_t)c->rows * n;
    struct device d = {.n_groups = c->n / c->grid.groupsize};

    d.w_host = sweep_random_act(s, weights, 1, &d.w);
    if (weights > 5 * n) { /* a row of zeros, a row that is not negative */
        memset(d.w_host, 0, n * sizeof(float));
        for (size_t i = n; i < 2 * n; i++)
            d.w_host[i] = fabsf(d.w_host[i]);
        d.w = sweep_upload_act(s, d.w_host, weights);
    }
    take_outputs(s, &d, c);
    return d;
}

static bool prepare_factor(struct sweep *s, const struct quantize_case *c, struct device *d) {
    size_t n = (size_t)c->n, size = (size_t)c->G * n * n * sizeof(float);
    float *damp = sweep_host(s, (size_t)c->G, sizeof(*damp));
    int32_t *info = sweep_host(s, (size_t)c->G, sizeof(*info));
    float *condition = sweep_host(s, (size_t)c->G, sizeof(*condition));
    struct span scratch = maybe_span(s, s->ops->factor_scratch(s->b, c->G, c->n));

    for (int g = 0; g < c->G; g++)
        damp[g] = 0.01f;
    d->h_host = sweep_random_hessian(s, c->G, c->n);
    d->h = sweep_upload(s, d->h_host, size);
    d->u = sweep_span(s, size);
    d->perm = sweep_span(s, (size_t)c->G * n * 4);
    if (!sweep_ok(s, s->ops->hessian_order(s->b, d->perm, d->h, c->G, c->n, c->act_order),
                  "hessian_order") ||
        !sweep_ok(
            s,
            s->ops->factor(s->b, d->u, d->h, d->perm, damp, info, condition, c->G, c->n, scratch),
            "factor"))
        return false;
    d->u_host = sweep_read(s, d->u, size);
    d->order = sweep_read(s, d->perm, (size_t)c->G * n * 4);
    return true;
}

/* Any correction, with junk where it is not defined. */
static void prepare_drift(struct sweep *s, const struct quantize_case *c, struct device *d) {
    size_t n = (size_t)c->n, size = (size_t)c->G * n * n;

    d->p_host = sweep_host(s, size, sizeof(float));
    for (size_t i = 0; i < size; i++)
        d->p_host[i] = i / n % n < i % n ? (float)(2 * sweep_uniform(s) - 1) / (float)n : -1e30f;
    d->p = sweep_upload(s, d->p_host, size * sizeof(float));
}

static struct outcome read_outcome(struct sweep *s, const struct quantize_case *c,
                                   const struct device *d) {
    size_t n = (size_t)c->n, weights = (size_t)c->G * (size_t)c->rows * n;
    size_t grids = (size_t)c->G * (size_t)d->n_groups * (size_t)c->rows;

    return (struct outcome){
        .codes = sweep_read(s, d->q.codes, weights),
        .zeros = sweep_read(s, d->q.zeros, grids),
        .scales = sweep_read(s, d->q.scales, grids * 2),
        .g_idx = sweep_read(s, d->q.g_idx, (size_t)c->G * n * 4),
        .dq = sweep_read_act(s, d->dq, weights),
    };
}

static struct ref_gptq reference(struct sweep *s, const struct quantize_case *c, int n_groups,
                                 const float *w) {
    size_t weights = (size_t)c->rows * (size_t)c->n, grids = (size_t)n_groups * (size_t)c->rows;

    return (struct ref_gptq){
        .w = sweep_doubles(s, w, weights),
        .steps = sweep_host(s, weights, sizeof(double)),
        .codes = sweep_host(s, weights, sizeof(int)),
        .scales = sweep_host(s, grids, sizeof(double)),
        .zeros = sweep_host(s, grids, sizeof(double)),
    };
}

/* The rows of one matrix: where the reference and the backend are compared. */
struct comparison {
    const struct quantize_case *c;
    const struct ref_gptq *want;
    const uint8_t *codes, *zeros;
    const uint16_t *scales;
    const int32_t *g_idx, *order; /* order: NULL for the model's */
};

/* 0: the row agrees; 1: it parts at a tie; 2: it is wrong. */
static int compare_row(const struct comparison *m, int row) {
    for (int i = 0; i < m->c->n; i++) {
        int column = m->order ? m->order[i] : i;
        size_t at = (size_t)row * (size_t)m->c->n + (size_t)column;
        size_t grid = (size_t)m->g_idx[column] * (size_t)m->c->rows + (size_t)row;
        double scale = (double)f16_to_f32(m->scales[grid]), steps = m->want->steps[at];
        double other = fabs(scale / m->want->scales[grid] - 1);

        if (other > 0 || m->zeros[grid] != m->want->zeros[grid])
            return other < 0x1p-9 || m->c->grid.fit != GRID_MINMAX ? 1 : 2; /* the next f16 */
        if (m->codes[at] != m->want->codes[at])
            return fabs(fabs(steps - rint(steps)) - 0.5) < TIE &&
                           abs(m->codes[at] - m->want->codes[at]) == 1
                       ? 1
                       : 2;
    }
    return 0;
}

static const char *const fit_labels[] = {
    [GRID_MINMAX] = "", [GRID_MSE] = ", mse", [GRID_HESSIAN] = ", hessian"};

static void compare_rows(struct sweep *s, const struct comparison *m, const char *what) {
    int n[3] = {0};

    for (int row = 0; row < m->c->rows; row++)
        n[compare_row(m, row)]++;
    sweep_check(s, n[2] == 0 && n[1] <= 1 + TIED_ROWS * m->c->rows,
                "%s: %dx%d, %d bits, groups of %d%s%s%s%s%s: %d rows wrong, %d part at a tie", what,
                m->c->rows, m->c->n, m->c->grid.wbits, m->c->grid.groupsize,
                m->c->grid.sym ? ", sym" : "", fit_labels[m->c->grid.fit],
                m->c->act_order ? ", act_order" : "", m->c->static_groups ? ", static" : "",
                m->c->drift ? ", drift" : "", n[2], n[1]);
}

static bool g_idx_is_right(const struct quantize_case *c, const int32_t *g_idx,
                           const int32_t *order, bool static_groups) {
    for (int i = 0; i < c->n; i++) {
        int column = order ? order[i] : i;

        if (g_idx[column] != (static_groups ? column : i) / c->grid.groupsize)
            return false;
    }
    return true;
}

/* Every dq is its code on its grid, and so says dequantize(). */
static void check_dq(struct sweep *s, const struct quantize_case *c, const struct device *d,
                     const struct outcome *o) {
    size_t n = (size_t)c->n, rows = (size_t)c->rows, weights = (size_t)c->G * rows * n;
    double *want = sweep_host(s, weights, sizeof(*want));
    struct span w = sweep_span(s, sweep_act_size(s, weights));

    for (size_t i = 0; i < weights; i++) {
        size_t g = i / n / rows, row = i / n % rows;
        size_t group = (size_t)o->g_idx[g * n + i % n];
        size_t at = (g * (size_t)d->n_groups + group) * rows + row;

        want[i] = (double)f16_to_f32(o->scales[at]) * (o->codes[i] - o->zeros[at]);
    }
    sweep_expect(s, "dq", o->dq, want, weights, 0, SWEEP_ACT);
    if (sweep_ok(s, s->ops->dequantize(s->b, w, &d->q, d->n_groups, c->G, c->rows, c->n),
                 "dequantize"))
        sweep_check(s, memcmp(sweep_read_act(s, w, weights), o->dq, weights * sizeof(float)) == 0,
                    "dequantize: not what was quantized");
}

static void compare_outcome(struct sweep *s, const struct quantize_case *c, const struct device *d,
                            const char *what, bool rtn) {
    struct outcome o = read_outcome(s, c, d);
    size_t n = (size_t)c->n, weights = (size_t)c->rows * n;
    size_t grids = (size_t)d->n_groups * (size_t)c->rows;

    for (int i = 0; i < c->G; i++) {
        size_t g = (size_t)i;
        const int32_t *order = rtn ? NULL : d->order + g * n;
        struct ref_gptq want = reference(s, c, d->n_groups, d->w_host + g * weights);
        struct comparison m = {c,
                               &want,
                               o.codes + g * weights,
                               o.zeros + g * grids,
                               o.scales + g * grids,
                               o.g_idx + g * n,
                               order};

        if (!g_idx_is_right(c, m.g_idx, order, rtn || c->static_groups)) {
            sweep_check(s, false, "%s: g_idx of matrix %d", what, i);
            return;
        }
        if (rtn) {
            ref_rtn(&want, &c->grid, c->rows, c->n);
        } else {
            want.p = d->p_host ? d->p_host + g * n * n : NULL;
            ref_gptq(&want, d->u_host + g * n * n, order, d->h_host + g * n * n, &c->grid,
                     c->static_groups, c->rows, c->n);
        }
        compare_rows(s, &m, what);
    }
    check_dq(s, c, d, &o);
}

/* Returns the error of all rows together; checks each. */
static double check_output_error(struct sweep *s, const struct quantize_case *c,
                                 const struct device *d) {
    size_t n = (size_t)c->n, rows = (size_t)c->G * (size_t)c->rows;
    struct span num = sweep_span(s, rows * 4), den = sweep_span(s, rows * 4);
    struct span scratch = maybe_span(s, s->ops->output_error_scratch(s->b, c->G, c->rows, c->n));
    float *dq = sweep_read_act(s, d->dq, rows * n);
    double *want_num = sweep_host(s, rows, sizeof(double)), sum = 0;
    double *want_den = sweep_host(s, rows, sizeof(double));
    double *e = sweep_host(s, n, sizeof(double)), *w = sweep_host(s, n, sizeof(double));

    for (size_t r = 0; r < rows; r++) {
        const float *h = d->h_host + r / (size_t)c->rows * n * n;

        for (size_t i = 0; i < n; i++) {
            w[i] = (double)d->w_host[r * n + i];
            e[i] = w[i] - (double)dq[r * n + i];
        }
        want_num[r] = ref_quadratic(e, h, c->n);
        want_den[r] = ref_quadratic(w, h, c->n);
        sum += want_num[r];
    }
    if (sweep_ok(
            s,
            s->ops->output_error(s->b, num, den, d->w, d->dq, d->h, c->G, c->rows, c->n, scratch),
            "output_error")) {
        sweep_expect(s, "output_error num", sweep_read(s, num, rows * 4), want_num, rows, TOL_ERROR,
                     SWEEP_ACT);
        sweep_expect(s, "output_error den", sweep_read(s, den, rows * 4), want_den, rows, TOL_ERROR,
                     SWEEP_F32);
    }
    return sum;
}

/* The op alone, at shapes that gptq() does not take too, and with junk above h's diagonal. */
static void error_case(struct sweep *s, const struct quantize_case *c) {
    size_t n = (size_t)c->n, weights = (size_t)c->G * (size_t)c->rows * n;
    size_t size = (size_t)c->G * n * n;
    struct device d = {};
    float *dq, *h;

    sweep_begin(s);
    d.w_host = sweep_random_act(s, weights, 1, &d.w);
    dq = sweep_host(s, weights, sizeof(*dq));
    for (size_t i = 0; i < weights; i++)
        dq[i] = rintf(d.w_host[i] * 8) / 8; /* their difference is exact */
    d.dq = sweep_upload_act(s, dq, weights);
    d.h_host = sweep_random_hessian(s, c->G, c->n);
    h = sweep_host(s, size, sizeof(*h));
    for (size_t i = 0; i < size; i++)
        h[i] = i % n <= i / n % n ? d.h_host[i] : NAN;
    d.h = sweep_upload(s, h, size * sizeof(*h));
    sweep_check(s, check_output_error(s, c, &d) > 0, "output_error: no error");
    sweep_end(s);
}

static void quantize_case(struct sweep *s, const struct quantize_case *c) {
    struct quantize_case nearest = *c;
    struct span scratch;
    struct device d;
    double rtn_error = 0, gptq_error = 0;

    sweep_begin(s);
    d = prepare(s, c);
    if (!prepare_factor(s, c, &d)) {
        sweep_end(s);
        return;
    }
    if (c->grid.fit == GRID_HESSIAN) {
        sweep_check(s, s->ops->rtn(s->b, &d.q, d.dq, d.w, &c->grid, c->G, c->rows, c->n) == -EINVAL,
                    "rtn: not refused without a Hessian");
        nearest.grid.fit = GRID_MSE;
    }
    if (sweep_ok(s, s->ops->rtn(s->b, &d.q, d.dq, d.w, &nearest.grid, c->G, c->rows, c->n),
                 "rtn")) {
        compare_outcome(s, &nearest, &d, "rtn", true);
        rtn_error = check_output_error(s, c, &d);
    }
    take_outputs(s, &d, c);
    if (c->drift)
        prepare_drift(s, c, &d);
    scratch = maybe_span(s, s->ops->gptq_scratch(s->b, c->G, c->rows, c->n, c->drift));
    if (sweep_ok(s,
                 s->ops->gptq(s->b, &d.q, d.dq, d.w, d.u, d.perm, d.p, d.h, &c->grid,
                              c->static_groups, c->G, c->rows, c->n, scratch),
                 "gptq")) {
        compare_outcome(s, c, &d, "gptq", false);
        gptq_error = check_output_error(s, c, &d);
    }
    if (c->n >= 64 && c->rows >= 8 && !c->drift) /* it aims at something else then */
        sweep_check(s, gptq_error < rtn_error, "gptq: error %g, by rounding alone %g", gptq_error,
                    rtn_error);
    sweep_end(s);
}

/* What rtn() makes of one row of 8 weights. */
struct known_grid {
    float w[8];
    struct grid grid;
    float scale;
    uint8_t zero, codes[8];
};

static void known_grid_case(struct sweep *s, const struct known_grid *k) {
    struct quantized q;
    struct span w, dq;
    uint16_t *scale;
    uint8_t *zero, *codes;

    sweep_begin(s);
    w = sweep_upload_act(s, k->w, 8);
    dq = sweep_span(s, sweep_act_size(s, 8));
    q = (struct quantized){sweep_span(s, 8), sweep_span(s, 2), sweep_span(s, 1), sweep_span(s, 32)};
    if (sweep_ok(s, s->ops->rtn(s->b, &q, dq, w, &k->grid, 1, 1, 8), "rtn")) {
        scale = sweep_read(s, q.scales, 2);
        zero = sweep_read(s, q.zeros, 1);
        codes = sweep_read(s, q.codes, 8);
        sweep_check(s, f16_to_f32(*scale) == k->scale && *zero == k->zero,
                    "rtn: %d bits: scale %g, not %g; zero %d, not %d", k->grid.wbits,
                    (double)f16_to_f32(*scale), (double)k->scale, *zero, k->zero);
        for (int i = 0; i < 8; i++)
            sweep_check(s, codes[i] == k->codes[i], "rtn: %d bits: %g becomes %d, not %d",
                        k->grid.wbits, (double)k->w[i], codes[i], k->codes[i]);
    }
    sweep_end(s);
}

/* Ties go to the even code; ranges that f16 cannot scale; a group of zeros. */
static void sweep_known_grids(struct sweep *s) {
    static const struct known_grid known[] = {
        {{7.5f, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, -7.5f},
         {4, 8, true, false},
         1,
         8,
         {15, 8, 10, 10, 8, 6, 6, 0}},
        {{-5, 10, 0.5f, 1.5f, -0.5f, -1.5f, 9.5f, 0},
         {4, 8, false, false},
         1,
         5,
         {0, 15, 5, 7, 5, 3, 15, 5}},
        {{-0.5f, 14.5f, 0, 0, 0, 0, 0, 1}, {4, 8, false, false}, 1, 0, {0, 14, 0, 0, 0, 0, 0, 1}},
        {{-1.5f, 13.5f, 0, 0, 0, 0, 0, 1}, {4, 8, false, false}, 1, 2, {0, 15, 2, 2, 2, 2, 2, 3}},
        {{1, 2, 3, 3, 3, 3, 3, 3}, {2, 8, false, false}, 1, 0, {1, 2, 3, 3, 3, 3, 3, 3}},
        {{0}, {4, 8, true, false}, 0x1.11p-3f, 8, {8, 8, 8, 8, 8, 8, 8, 8}},
        {{0}, {2, 8, false, false}, 0x1.554p-1f, 2, {2, 2, 2, 2, 2, 2, 2, 2}},
        {{0x1p100f, -0x1p100f}, {4, 8, true, false}, 65504, 8, {15, 0, 8, 8, 8, 8, 8, 8}},
        {{0x1p-100f, -0x1p-100f}, {8, 8, false, false}, 0x1p-24f, 0, {0}},
    };

    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        known_grid_case(s, &known[i]);
}

void sweep_quantize(struct sweep *s) {
    static const struct quantize_case cases[] = {
        /* G, rows, n, {wbits, groupsize, sym, fit}, act_order, static_groups */
        {1, 1, 8, {4, 8, false, GRID_MINMAX}, false, false},
        {3, 5, 8, {4, 8, true, GRID_MINMAX}, true, false},
        {2, 63, 120, {3, 120, false, GRID_MINMAX}, true, false},
        {2, 64, 128, {2, 32, false, GRID_MINMAX}, false, false},
        {1, 65, 136, {4, 136, true, GRID_MINMAX}, true, false},
        {1, 33, 136, {4, 8, false, GRID_MINMAX}, true, true},
        {1, 17, 264, {8, 264, false, GRID_MINMAX}, true, false},
        {1, 17, 288, {4, 48, false, GRID_MINMAX}, true, false},  /* crosses blocks of 128 */
        {1, 17, 480, {4, 160, false, GRID_MINMAX}, true, false}, /* longer than a block */
        {1, 17, 400, {3, 200, true, GRID_MINMAX}, false, true},
        {2, 70, 256, {4, 128, false, GRID_MINMAX}, true, true},
        {2, 70, 256, {4, 128, false, GRID_MINMAX}, true, false},
        {1, 9, 256, {4, 64, false, GRID_MSE}, true, false},
        {1, 9, 256, {2, 128, true, GRID_MSE}, false, true},
        {1, 9, 512, {3, 256, true, GRID_MINMAX}, true, false},
        {1, 9, 256, {4, 64, false, GRID_HESSIAN}, true, false},
        {2, 9, 256, {2, 128, true, GRID_HESSIAN}, true, true},
        {1, 65, 136, {3, 136, false, GRID_HESSIAN}, true, false}, /* a row is a group */
        {1, 9, 400, {8, 200, false, GRID_HESSIAN}, false, false}, /* longer than a block */
        {2, 17, 96, {3, 8, false, GRID_HESSIAN}, false, true},
        {1, 1, 8, {4, 8, false, GRID_MINMAX}, true, false, true},
        {3, 65, 136, {4, 136, true, GRID_MINMAX}, true, false, true},
        {1, 33, 136, {4, 8, false, GRID_MINMAX}, true, true, true},
        {1, 17, 288, {4, 48, false, GRID_MINMAX}, true, false, true},
        {1, 17, 480, {3, 160, false, GRID_MINMAX}, true, false, true},
        {2, 130, 256, {4, 128, false, GRID_HESSIAN}, true, true, true},
        {1, 9, 1160, {4, 40, false, GRID_MINMAX}, true, false, true}, /* panels of cuda's */
        {1, 9, 1160, {4, 40, false, GRID_MINMAX}, false, true, true},
    };
    static const struct quantize_case shapes[] = {
        /* G, rows, n */
        {.G = 1, .rows = 7, .n = 12},
        {.G = 2, .rows = 130, .n = 100},
        {.G = 3, .rows = 140, .n = 776},
        {.G = 2, .rows = 257, .n = 1032},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        quantize_case(s, &cases[i]);
    sweep_known_grids(s);
    for (size_t i = 0; i < ARRAY_SIZE(shapes); i++)
        error_case(s, &shapes[i]);
}
