// SPDX-License-Identifier: Apache-2.0
/* Hessians, their order and their factor. */
#include "tests/kernels/reference.h"
#include "tests/kernels/sweep.h"

#include <math.h>
#include <string.h>

#define TOL_SUM 1e-5 /* f32 sums, measured by the largest result */
/* Differences are rounded to act, and then few terms of both signs leave less than each. */
#define TOL_DIFFERENCE 0x1p-8
#define TOL_CORRECTION 1e-4 /* two products after each other, with u's of every size */
/* u'u h against the identity: f32 rounding times the condition of the damped h (below 1e3). */
#define TOL_FACTOR 2e-3

/* offsets of G groups of @rows rows; every third has none. */
static int32_t *group_offsets(struct sweep *s, int G, int rows) {
    int32_t *offsets = sweep_host(s, (size_t)G + 1, sizeof(*offsets));

    for (int g = 0; g < G; g++)
        offsets[g + 1] = offsets[g] + (g % 3 == 1 ? 0 : rows + g);
    return offsets;
}

static void hessian_case(struct sweep *s, int G, int rows, int n) {
    size_t side = (size_t)n, each = side * side, size = (size_t)G * each;
    int32_t *offsets;
    struct span x, h;
    float *in, *got, *lower;
    double *want;

    sweep_begin(s);
    offsets = group_offsets(s, G, rows);
    in = sweep_random_act(s, (size_t)offsets[G] * side, 1, &x);
    got = sweep_host(s, size, sizeof(float));
    h = sweep_upload(s, got, size * sizeof(float));
    want = sweep_host(s, size, sizeof(*want));
    for (int g = 0; g < G; g++) {
        for (int twice = 0; twice < 2; twice++)
            ref_hessian(want + (size_t)g * each, in + (size_t)offsets[g] * side,
                        offsets[g + 1] - offsets[g], n);
    }
    if (sweep_ok(s, s->ops->hessian_add(s->b, h, x, offsets, G, n), "hessian_add") &&
        sweep_ok(s, s->ops->hessian_add(s->b, h, x, offsets, G, n), "hessian_add")) {
        lower = sweep_read(s, h, size * sizeof(float));
        for (size_t i = 0; i < size; i++)
            got[i] = i / side % side >= i % side ? lower[i] : 0;
        sweep_expect(s, "hessian_add", got, want, size, TOL_SUM, SWEEP_F32);
    }
    sweep_end(s);
}

static void cross_case(struct sweep *s, int G, int rows, int n) {
    size_t side = (size_t)n, each = side * side, size = (size_t)G * each, values;
    int32_t *offsets;
    struct span x0_span, x_span, d;
    float *x0, *x;
    double *want;

    sweep_begin(s);
    offsets = group_offsets(s, G, rows);
    values = (size_t)offsets[G] * side;
    x0 = sweep_random_act(s, values, 1, &x0_span);
    x = sweep_random_act(s, values, 1, &x_span);
    d = sweep_upload(s, sweep_host(s, size, sizeof(float)), size * sizeof(float));
    want = sweep_host(s, size, sizeof(*want));
    for (int g = 0; g < G; g++) {
        for (int twice = 0; twice < 2; twice++)
            ref_cross(want + (size_t)g * each, x0 + (size_t)offsets[g] * side,
                      x + (size_t)offsets[g] * side, offsets[g + 1] - offsets[g], n);
    }
    if (sweep_ok(s, s->ops->cross_add(s->b, d, x0_span, x_span, offsets, G, n), "cross_add") &&
        sweep_ok(s, s->ops->cross_add(s->b, d, x0_span, x_span, offsets, G, n), "cross_add"))
        sweep_expect(s, "cross_add", sweep_read(s, d, size * sizeof(float)), want, size,
                     s->ops->act == DTYPE_BF16 ? TOL_DIFFERENCE : TOL_SUM, SWEEP_ACT);
    sweep_end(s);
}

float *sweep_random_hessian(struct sweep *s, int G, int n) {
    size_t side = (size_t)n, each = side * side;
    float *h = sweep_host(s, (size_t)G * each, sizeof(*h)), *x;
    double *wide = sweep_host(s, each, sizeof(*wide));
    int rows = 2 * n + 3;

    x = sweep_host(s, (size_t)rows * side, sizeof(*x));
    for (int g = 0; g < G; g++) {
        memset(wide, 0, each * sizeof(*wide));
        for (size_t i = 0; i < (size_t)rows * side; i++)
            x[i] = i % side == 1 ? 0 : (float)(2 * sweep_uniform(s) - 1) * (1 + (float)(i % 3));
        for (size_t i = 4; i < (size_t)rows * side; i += side)
            x[i - 1] = n > 4 ? x[i] : x[i - 1];
        ref_hessian(wide, x, rows, n);
        for (size_t i = 0; i < each; i++)
            h[(size_t)g * each + i] = i / side >= i % side ? (float)wide[i] : -1e30f;
    }
    return h;
}

static void check_order(struct sweep *s, const int32_t *perm, const float *h, int n,
                        bool act_order) {
    unsigned char *seen = sweep_host(s, (size_t)n, 1);

    for (int i = 0; i < n; i++) {
        if (perm[i] < 0 || perm[i] >= n || seen[perm[i]]++) {
            sweep_check(s, false, "hessian_order: not a permutation");
            return;
        }
        if (!act_order) {
            sweep_check(s, perm[i] == i, "hessian_order: moved %d", i);
        } else if (i > 0) {
            float before = h[(size_t)perm[i - 1] * (size_t)(n + 1)];
            float now = h[(size_t)perm[i] * (size_t)(n + 1)];

            sweep_check(s, before > now || (before == now && perm[i - 1] < perm[i]),
                        "hessian_order: %d before %d", perm[i - 1], perm[i]);
        }
    }
}

/* The damped, permuted h, as factor() is asked to see it. */
static double *damped(struct sweep *s, const float *h, const int32_t *perm, int n, double damp) {
    size_t side = (size_t)n;
    double *full = sweep_host(s, side * side, sizeof(*full)), sum = 0;

    for (int i = 0; i < n; i++)
        sum += h[i * (n + 1)] == 0 ? 1 : (double)h[i * (n + 1)];
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < n; j++) {
            size_t p = (size_t)MAX(perm[i], perm[j]), q = (size_t)MIN(perm[i], perm[j]);
            double v = (double)h[p * side + q];

            full[(size_t)i * side + (size_t)j] = i == j ? (v == 0 ? 1 : v) + damp * sum / n : v;
        }
    }
    return full;
}

/* The largest element of u'u h - 1. */
static double factor_error(struct sweep *s, const float *u, const double *h, int n) {
    size_t side = (size_t)n;
    double *uh = sweep_host(s, side * side, sizeof(*uh)), worst = 0;

    for (size_t i = 0; i < side; i++) {
        for (size_t k = i; k < side; k++) {
            for (size_t j = 0; j < side; j++)
                uh[i * side + j] += (double)u[i * side + k] * h[k * side + j];
        }
    }
    for (size_t i = 0; i < side; i++) {
        for (size_t j = 0; j < side; j++) {
            double sum = i == j ? -1 : 0;

            for (size_t k = 0; k <= i; k++)
                sum += (double)u[k * side + i] * uh[k * side + j];
            if (!(fabs(sum) <= worst))
                worst = fabs(sum);
        }
    }
    return worst;
}

/* Is @condition what the diagonal of u says? */
static bool same_condition(float condition, const float *u, int n) {
    double least = INFINITY, most = 0;

    for (size_t i = 0; i < (size_t)n; i++) {
        least = fmin(least, u[i * (size_t)(n + 1)]);
        most = fmax(most, u[i * (size_t)(n + 1)]);
    }
    return fabs(condition / (most / least * (most / least)) - 1) < 1e-5;
}

static void factor_case(struct sweep *s, int G, int n, bool act_order) {
    size_t each = (size_t)n * (size_t)n, size = (size_t)G * each * sizeof(float);
    size_t need = s->ops->factor_scratch(s->b, G, n), columns = (size_t)G * (size_t)n * 4;
    struct span h, u, perm, scratch = {};
    float *host, *u_host, *damp, *condition;
    int32_t *info, *order;

    sweep_begin(s);
    host = sweep_random_hessian(s, G, n);
    h = sweep_upload(s, host, size);
    u = sweep_span(s, size);
    perm = sweep_span(s, columns);
    if (need > 0)
        scratch = sweep_span(s, need);
    damp = sweep_host(s, (size_t)G, sizeof(*damp));
    info = sweep_host(s, (size_t)G, sizeof(*info));
    condition = sweep_host(s, (size_t)G, sizeof(*condition));
    for (int g = 0; g < G; g++)
        damp[g] = 0.01f * (float)(g + 1);
    if (sweep_ok(s, s->ops->hessian_order(s->b, perm, h, G, n, act_order), "hessian_order") &&
        sweep_ok(s, s->ops->factor(s->b, u, h, perm, damp, info, condition, G, n, scratch),
                 "factor")) {
        order = sweep_read(s, perm, columns);
        u_host = sweep_read(s, u, size);
        sweep_check(s, memcmp(sweep_read(s, h, size), host, size) == 0, "factor: changed h");
        for (int g = 0; g < G; g++) {
            size_t at = (size_t)g * each;
            double error;

            check_order(s, order + g * n, host + at, n, act_order);
            error = factor_error(s, u_host + at,
                                 damped(s, host + at, order + g * n, n, (double)damp[g]), n);
            sweep_check(s, info[g] == 0 && error <= TOL_FACTOR,
                        "factor: matrix %d of n=%d: info %d, off by %g", g, n, info[g], error);
            sweep_check(s, same_condition(condition[g], u_host + at, n), "factor: condition %g",
                        condition[g]);
        }
    }
    sweep_end(s);
}

static void correction_case(struct sweep *s, int G, int n) {
    size_t each = (size_t)n * (size_t)n, size = (size_t)G * each;
    size_t need = MAX(s->ops->factor_scratch(s->b, G, n), s->ops->drift_scratch(s->b, G, n));
    struct span h, d, u, p, perm, scratch = {};
    float *d_host, *u_host, *got, *damp, *condition;
    int32_t *info, *order;
    double *want;

    sweep_begin(s);
    h = sweep_upload(s, sweep_random_hessian(s, G, n), size * sizeof(float));
    d_host = sweep_host(s, size, sizeof(*d_host));
    for (size_t i = 0; i < size; i++)
        d_host[i] = (float)(2 * sweep_uniform(s) - 1);
    d = sweep_upload(s, d_host, size * sizeof(float));
    u = sweep_span(s, size * sizeof(float));
    p = sweep_span(s, size * sizeof(float));
    perm = sweep_span(s, (size_t)G * (size_t)n * sizeof(*order));
    if (need > 0)
        scratch = sweep_span(s, need);
    damp = sweep_host(s, (size_t)G, sizeof(*damp));
    info = sweep_host(s, (size_t)G, sizeof(*info));
    condition = sweep_host(s, (size_t)G, sizeof(*condition));
    for (int g = 0; g < G; g++)
        damp[g] = 0.01f;
    want = sweep_host(s, size, sizeof(*want));
    if (sweep_ok(s, s->ops->hessian_order(s->b, perm, h, G, n, true), "hessian_order") &&
        sweep_ok(s, s->ops->factor(s->b, u, h, perm, damp, info, condition, G, n, scratch),
                 "factor") &&
        sweep_ok(s, s->ops->drift_correction(s->b, p, d, u, perm, 0.5f, G, n, scratch),
                 "drift_correction")) {
        order = sweep_read(s, perm, (size_t)G * (size_t)n * sizeof(*order));
        u_host = sweep_read(s, u, size * sizeof(float));
        got = sweep_read(s, p, size * sizeof(float));
        for (int g = 0; g < G; g++)
            ref_correction(want + (size_t)g * each, d_host + (size_t)g * each,
                           u_host + (size_t)g * each, order + g * n, 0.5, n);
        for (size_t i = 0; i < size; i++)
            got[i] = i / (size_t)n % (size_t)n < i % (size_t)n ? got[i] : 0;
        sweep_expect(s, "drift_correction", got, want, size, TOL_CORRECTION, SWEEP_F32);
    }
    sweep_end(s);
}

/* Of four matrices the second is not positive definite, the third not finite. */
static void factor_failure_case(struct sweep *s, int n, float bad) {
    enum { G = 4 };
    size_t each = (size_t)n * (size_t)n, size = G * each * sizeof(float);
    size_t need = s->ops->factor_scratch(s->b, G, n);
    float damp[G] = {0.01f, 0.01f, 0.01f, 0.01f}, condition[G], *host;
    struct span h, u, perm, scratch = {};
    int32_t info[G] = {-1, -1, -1, -1};

    sweep_begin(s);
    host = sweep_random_hessian(s, G, n);
    host[each + 2 * (size_t)(n + 1)] = -5;
    host[2 * each + (size_t)(n - 1) * (size_t)n] = bad;
    h = sweep_upload(s, host, size);
    u = sweep_span(s, size);
    perm = sweep_span(s, G * (size_t)n * 4);
    if (need > 0)
        scratch = sweep_span(s, need);
    if (sweep_ok(s, s->ops->hessian_order(s->b, perm, h, G, n, true), "hessian_order") &&
        sweep_ok(s, s->ops->factor(s->b, u, h, perm, damp, info, condition, G, n, scratch),
                 "factor"))
        sweep_check(s, info[0] == 0 && info[1] != 0 && info[2] != 0 && info[3] == 0,
                    "factor: n=%d, info %d %d %d %d", n, info[0], info[1], info[2], info[3]);
    sweep_end(s);
}

/*
 * A matrix whose eigenvalues fall from 1 to 1 / @wanted: Q' diag(...) Q, Q from random reflections.
 * float32 loses what float64 keeps.
 */
static float *ill_conditioned(struct sweep *s, int n, double wanted) {
    size_t side = (size_t)n;
    double *a = sweep_host(s, side * side, sizeof(*a)), *v = sweep_host(s, side, sizeof(*v));
    float *h = sweep_host(s, side * side, sizeof(*h));

    for (size_t i = 0; i < side; i++)
        a[i * side + i] = pow(wanted, -(double)i / (n - 1));
    for (int round = 0; round < 6; round++) {
        double square = 0;

        for (size_t i = 0; i < side; i++) {
            v[i] = 2 * sweep_uniform(s) - 1;
            square += v[i] * v[i];
        }
        for (int turn = 0; turn < 2; turn++) { /* from the left, then from the right */
            for (size_t j = 0; j < side; j++) {
                size_t step = turn ? 1 : side, at = turn ? j * side : j;
                double dot = 0;

                for (size_t i = 0; i < side; i++)
                    dot += v[i] * a[at + i * step];
                for (size_t i = 0; i < side; i++)
                    a[at + i * step] -= 2 / square * dot * v[i];
            }
        }
    }
    for (size_t i = 0; i < side * side; i++)
        h[i] = i / side >= i % side ? (float)a[i] : -1e30f;
    return h;
}

/* u of the damped, permuted @h in double: L L' = J h J, column by column, and J inv(L) J. */
static double *ref_factor(struct sweep *s, const double *h, int n) {
    size_t side = (size_t)n, last = side * side - 1;
    double *l = sweep_host(s, side * side, sizeof(*l)), *u = sweep_host(s, side * side, sizeof(*u));

    for (size_t i = 0; i < side; i++) {
        for (size_t j = 0; j <= i; j++) {
            double sum = h[last - (i * side + j)];

            for (size_t k = 0; k < j; k++)
                sum -= l[i * side + k] * l[j * side + k];
            l[i * side + j] = i == j ? sqrt(sum) : sum / l[j * side + j];
        }
    }
    for (size_t j = 0; j < side; j++) {
        for (size_t i = j; i < side; i++) {
            double sum = i == j;

            for (size_t k = j; k < i; k++)
                sum -= l[i * side + k] * u[last - (k * side + j)];
            u[last - (i * side + j)] = sum / l[i * side + i];
        }
    }
    return u;
}

/* The largest error of an element of @u, by the diagonal of its row. */
static double row_error(const float *u, const double *want, int n) {
    double worst = 0;

    for (size_t i = 0; i < (size_t)n; i++) {
        for (size_t j = i; j < (size_t)n; j++) {
            size_t at = i * (size_t)n + j;
            double error = fabs(u[at] - want[at]) / want[i * (size_t)(n + 1)];

            if (!(error <= worst))
                worst = error;
        }
    }
    return worst;
}

/* The error of u from float32 and from float64; the damping is @damp. */
static void precision_case(struct sweep *s, int n, double wanted, float damp, double tolerance) {
    size_t size = (size_t)n * (size_t)n * sizeof(float), columns = (size_t)n * 4;
    size_t need = MAX(s->ops->factor_scratch(s->b, 1, n), s->ops->factor_f64_scratch(s->b, n));
    float *host, condition = 0, condition_f64 = 0;
    struct span h, u, perm, scratch;
    int32_t info, info_f64;
    double *want;
    double f32 = INFINITY, f64;
    int r;

    sweep_begin(s);
    host = ill_conditioned(s, n, wanted);
    h = sweep_upload(s, host, size);
    u = sweep_span(s, size);
    perm = sweep_span(s, columns);
    scratch = sweep_span(s, need);
    if (!sweep_ok(s, s->ops->hessian_order(s->b, perm, h, 1, n, true), "hessian_order") ||
        !sweep_ok(s, s->ops->factor(s->b, u, h, perm, &damp, &info, &condition, 1, n, scratch),
                  "factor")) {
        sweep_end(s);
        return;
    }
    want = ref_factor(s, damped(s, host, sweep_read(s, perm, columns), n, (double)damp), n);
    if (info == 0)
        f32 = row_error(sweep_read(s, u, size), want, n);
    r = s->ops->factor_f64(s->b, u, h, perm, damp, &info_f64, &condition_f64, n, scratch);
    if (sweep_ok(s, r, "factor_f64")) {
        f64 = info_f64 ? INFINITY : row_error(sweep_read(s, u, size), want, n);
        printf("factor: n=%d, eigenvalues to %.0e, damping %.0e: condition from %.1e, error of f32 "
               "%.1e, of f64 %.1e\n",
               n, 1 / wanted, (double)damp, (double)condition_f64, f32, f64);
        sweep_check(s, info_f64 == 0 && f64 <= tolerance, "factor_f64: info %d, off by %g, f32 %g",
                    info_f64, f64, f32);
        sweep_check(s, memcmp(sweep_read(s, h, size), host, size) == 0, "factor_f64: changed h");
    }
    sweep_end(s);
}

static void f64_failure_case(struct sweep *s, float bad) {
    enum { n = 65 };
    size_t each = (size_t)n * n;
    float *host, condition;
    struct span h, u, perm, scratch;
    int32_t info = 0;

    sweep_begin(s);
    host = sweep_random_hessian(s, 1, n);
    host[2 * (n + 1)] = bad;
    h = sweep_upload(s, host, each * 4);
    u = sweep_span(s, each * 4);
    perm = sweep_span(s, n * 4);
    scratch = sweep_span(s, s->ops->factor_f64_scratch(s->b, n));
    if (sweep_ok(s, s->ops->hessian_order(s->b, perm, h, 1, n, false), "hessian_order") &&
        sweep_ok(s, s->ops->factor_f64(s->b, u, h, perm, 0.01f, &info, &condition, n, scratch),
                 "factor_f64"))
        sweep_check(s, info != 0, "factor_f64: took %g", bad);
    sweep_end(s);
}

void sweep_hessian(struct sweep *s) {
    static const int sizes[] = {1, 3, 63, 64, 65, 255, 256, 257};

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        hessian_case(s, 1, 67, sizes[i]);
        hessian_case(s, 5, 3, sizes[i]);
        cross_case(s, 1, 67, sizes[i]);
        cross_case(s, 5, 3, sizes[i]);
        if (sizes[i] > 1)
            factor_case(s, 3, sizes[i], i % 2 == 0);
        correction_case(s, 3, sizes[i]);
    }
    hessian_case(s, 2, 3000, 33);
    cross_case(s, 2, 1100, 33);   /* more rows than the cpu takes at a time */
    cross_case(s, 1, 127200, 33); /* more than cuda does */
    factor_case(s, 1, 127, true);
    correction_case(s, 1, 530); /* more than a block of cuda's */
    precision_case(s, 2, 10, 0.01f, TOL_FACTOR);
    precision_case(s, 257, 1e3, 0.01f, TOL_FACTOR);
    precision_case(s, 300, 1e5, 1e-9f, TOL_FACTOR);
    precision_case(s, 300, 1e6, 1e-9f, 2e-2);
    precision_case(s, 300, 1e14, 1e-5f, 2e-1);
    f64_failure_case(s, -5);
    f64_failure_case(s, NAN);
    f64_failure_case(s, INFINITY);
    factor_failure_case(s, 5, NAN);
    factor_failure_case(s, 200, NAN);
    factor_failure_case(s, 200, INFINITY);
}
