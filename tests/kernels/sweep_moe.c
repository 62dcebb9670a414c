// SPDX-License-Identifier: Apache-2.0
/* The ops of a mixture of experts. */
#include "tests/kernels/reference.h"
#include "tests/kernels/sweep.h"

#include <math.h>
#include <string.h>

#define TOL_SUM 1e-5    /* f32 sums, measured by the largest result */
#define TOL_ROUTER 1e-5 /* probabilities, of 1 */
#define TOL_CHOICE 1e-6 /* two experts this close may change places */

/* That @experts are the top_k of p [n_experts], ascending; ties by rounding are forgiven. */
static bool is_choice(const double *p, const int32_t *experts, int n_experts, int top_k) {
    double least = INFINITY;

    for (int j = 0; j < top_k; j++) {
        if (experts[j] < 0 || experts[j] >= n_experts || (j > 0 && experts[j] <= experts[j - 1]))
            return false;
        least = fmin(least, p[experts[j]]);
    }
    for (int e = 0, j = 0; e < n_experts; e++) {
        if (j < top_k && experts[j] == e)
            j++;
        else if (p[e] > least + TOL_CHOICE)
            return false;
    }
    return true;
}

static void route_case(struct sweep *s, int T, int d, int n_experts, int top_k, bool norm) {
    size_t n = (size_t)T * (size_t)top_k;
    struct span x, w, experts, weights;
    float *in, *weight, *got_weights;
    int32_t *got;
    double *p, *want;

    sweep_begin(s);
    in = sweep_random_act(s, (size_t)T * (size_t)d, 1, &x);
    weight = sweep_random_act(s, (size_t)n_experts * (size_t)d, 1, &w);
    p = sweep_host(s, (size_t)T * (size_t)n_experts, sizeof(*p));
    want = sweep_host(s, n, sizeof(*want));
    ref_router(p, in, weight, T, d, n_experts);
    experts = sweep_span(s, n * 4);
    weights = sweep_span(s, n * 4);
    if (sweep_ok(s, s->ops->route(s->b, experts, weights, x, w, T, d, n_experts, top_k, norm),
                 "route")) {
        got = sweep_read(s, experts, n * 4);
        got_weights = sweep_read(s, weights, n * 4);
        for (int t = 0; t < T; t++) {
            const double *row = p + (size_t)t * (size_t)n_experts;
            double sum = 0;

            if (!is_choice(row, got + t * top_k, n_experts, top_k)) {
                sweep_check(s, false, "route: token %d of %d: wrong experts", t, T);
                break;
            }
            for (int j = 0; j < top_k; j++)
                sum += row[got[t * top_k + j]];
            for (int j = 0; j < top_k; j++)
                want[t * top_k + j] = row[got[t * top_k + j]] / (norm ? sum : 1);
        }
        sweep_expect(s, "route weights", got_weights, want, n, TOL_ROUTER, SWEEP_F32);
    }
    sweep_end(s);
}

/* All logits are equal, or not numbers: the first top_k experts, each once. */
static void route_ties_case(struct sweep *s, float value) {
    enum { T = 3, D = 8, EXPERTS = 5, TOP_K = 2 };
    float in[T * D], weight[EXPERTS * D];
    struct span x, w, experts, weights;
    int32_t *got;

    sweep_begin(s);
    for (int i = 0; i < T * D; i++)
        in[i] = value;
    for (int i = 0; i < EXPERTS * D; i++)
        weight[i] = 1;
    x = sweep_upload_act(s, in, T * D);
    w = sweep_upload_act(s, weight, EXPERTS * D);
    experts = sweep_span(s, T * TOP_K * 4);
    weights = sweep_span(s, T * TOP_K * 4);
    if (sweep_ok(s, s->ops->route(s->b, experts, weights, x, w, T, D, EXPERTS, TOP_K, false),
                 "route")) {
        got = sweep_read(s, experts, T * TOP_K * 4);
        for (int i = 0; i < T * TOP_K; i++)
            sweep_check(s, got[i] == i % TOP_K, "route: tie of %g gives %d", (double)value, got[i]);
    }
    sweep_end(s);
}

/* A choice of experts in which some get nothing: @skip of them. */
static int32_t *random_experts(struct sweep *s, int T, int n_experts, int top_k, int skip) {
    int32_t *experts = sweep_host(s, (size_t)T * (size_t)top_k, sizeof(*experts));

    for (int t = 0; t < T; t++) {
        int e = skip;

        for (int j = 0; j < top_k; j++) {
            int left = n_experts - e - (top_k - j);

            e += (int)sweep_below(s, (uint32_t)left + 1);
            experts[t * top_k + j] = e++;
        }
    }
    return experts;
}

static void check_dispatch(struct sweep *s, const int32_t *experts, const int32_t *order,
                           const int32_t *position, const int32_t *offsets, int T, int n_experts,
                           int top_k) {
    int slot = 0;

    for (int e = 0; e < n_experts; e++) {
        sweep_check(s, offsets[e] == slot, "dispatch: offset %d is %d", e, offsets[e]);
        for (int i = 0; i < T * top_k; i++) {
            if (experts[i] != e)
                continue;
            sweep_check(s, order[slot] == i / top_k && position[i] == slot,
                        "dispatch: slot %d has token %d", slot, order[slot]);
            slot++;
        }
    }
    sweep_check(s, offsets[n_experts] == slot, "dispatch: ends at %d", offsets[n_experts]);
}

static void check_experts(struct sweep *s, struct span x, const float *in, const int32_t *offsets,
                          int n_experts, int n_in, int n_out) {
    size_t S = (size_t)offsets[n_experts], n = S * (size_t)n_out, each = (size_t)(n_in * n_out);
    struct span w, y;
    float *weight = sweep_random_act(s, (size_t)n_experts * each, 1, &w);
    double *want = sweep_host(s, n, sizeof(*want));

    y = sweep_span(s, sweep_act_size(s, n));
    for (int e = 0; e < n_experts; e++)
        ref_linear(want + (size_t)offsets[e] * (size_t)n_out,
                   in + (size_t)offsets[e] * (size_t)n_in, weight + (size_t)e * each,
                   offsets[e + 1] - offsets[e], n_in, n_out, false);
    if (sweep_ok(s, s->ops->expert_linear(s->b, y, x, w, offsets, n_experts, n_in, n_out),
                 "expert_linear"))
        sweep_expect(s, "expert_linear", sweep_read_act(s, y, n), want, n, TOL_SUM, SWEEP_ACT);
}

static void check_combine(struct sweep *s, struct span y, const float *out, struct span position,
                          const int32_t *slots, int T, int d, int top_k) {
    size_t n = (size_t)T * (size_t)d, S = (size_t)T * (size_t)top_k;
    float *weight = sweep_host(s, S, sizeof(*weight));
    struct span x, weights;
    float *before = sweep_random_act(s, n, 1, &x);
    double *want = sweep_doubles(s, before, n);

    for (size_t i = 0; i < S; i++)
        weight[i] = (float)sweep_uniform(s);
    for (size_t i = 0; i < S * (size_t)d; i++)
        want[i / (size_t)(top_k * d) * (size_t)d + i % (size_t)d] +=
            (double)weight[i / (size_t)d] *
            (double)out[(size_t)slots[i / (size_t)d] * (size_t)d + i % (size_t)d];
    weights = sweep_upload(s, weight, S * sizeof(*weight));
    if (sweep_ok(s, s->ops->combine(s->b, x, y, position, weights, T, d, top_k), "combine"))
        sweep_expect(s, "combine", sweep_read_act(s, x, n), want, n, TOL_SUM, SWEEP_ACT);
}

/* dispatch, gather, expert_linear and combine, each judged by itself. */
static void experts_case(struct sweep *s, int T, int d, int n_experts, int top_k, int skip) {
    size_t S = (size_t)T * (size_t)top_k, n = S * (size_t)d;
    int32_t *chosen, *order_host, *position_host, *offsets;
    struct span x, y, experts, order, position;
    float *in, *rows;

    sweep_begin(s);
    in = sweep_random_act(s, (size_t)T * (size_t)d, 1, &x);
    chosen = random_experts(s, T, n_experts, top_k, skip);
    offsets = sweep_host(s, (size_t)n_experts + 1, sizeof(*offsets));
    experts = sweep_upload(s, chosen, S * 4);
    order = sweep_span(s, S * 4);
    position = sweep_span(s, S * 4);
    y = sweep_span(s, sweep_act_size(s, n));
    if (sweep_ok(s, s->ops->dispatch(s->b, order, position, offsets, experts, T, n_experts, top_k),
                 "dispatch") &&
        sweep_ok(s, s->ops->gather(s->b, y, x, order, (int)S, T, d), "gather")) {
        order_host = sweep_read(s, order, S * 4);
        position_host = sweep_read(s, position, S * 4);
        check_dispatch(s, chosen, order_host, position_host, offsets, T, n_experts, top_k);
        rows = sweep_read_act(s, y, n);
        for (size_t i = 0; i < S; i++)
            sweep_check(s,
                        memcmp(rows + i * (size_t)d, in + (size_t)order_host[i] * (size_t)d,
                               (size_t)d * sizeof(float)) == 0,
                        "gather: row %zu", i);
        check_experts(s, y, rows, offsets, n_experts, d, d + 3);
        check_combine(s, y, rows, position, position_host, T, d, top_k);
    }
    sweep_end(s);
}

/* Of each slot by itself: row @source[slot] of in, or its own row when there is no source. */
static double *wanted_swiglu(struct sweep *s, const float *in, const int32_t *source,
                             const float *weight, const int32_t *offsets, int n_experts, int d,
                             int n) {
    size_t S = (size_t)offsets[n_experts], each = (size_t)(2 * n) * (size_t)d;
    double *want = sweep_host(s, S * (size_t)n, sizeof(*want));
    double *gate = sweep_host(s, (size_t)(2 * n), sizeof(*gate)), *up = gate + n;
    int e = 0;

    for (int slot = 0; slot < (int)S; slot++) {
        while (slot == offsets[e + 1])
            e++;
        ref_linear(gate, in + (size_t)(source ? source[slot] : slot) * (size_t)d,
                   weight + (size_t)e * each, 1, d, 2 * n, false);
        for (int i = 0; i < n; i++)
            want[(size_t)slot * (size_t)n + (size_t)i] = gate[i] / (1 + exp(-gate[i])) * up[i];
    }
    return want;
}

/* Counts of slots about a tile's and none at all; nothing may be written behind the last. */
static void expert_swiglu_case(struct sweep *s, int n_experts, int d, int n, bool ordered) {
    enum { T = 50, BEHIND = 1000 };
    static const int counts[] = {0, 1, 127, 128, 129, 0, 3};
    /* gate and up may be rounded to act before the last step */
    double tol = s->ops->act == DTYPE_BF16 ? 0x1p-8 : TOL_SUM;
    int32_t *offsets, *source;
    struct span x, w, y, gate_up, order = {}, rows = {};
    float *in, *weight;
    const unsigned char *all;
    size_t S, size;

    sweep_begin(s);
    offsets = sweep_host(s, (size_t)n_experts + 1, sizeof(*offsets));
    for (int e = 0; e < n_experts; e++)
        offsets[e + 1] = offsets[e] + counts[e % (int)ARRAY_SIZE(counts)];
    S = (size_t)offsets[n_experts];
    size = sweep_act_size(s, S * (size_t)n);
    in = sweep_random_act(s, (ordered ? T : S) * (size_t)d, 1, &x);
    weight = sweep_random_act(s, (size_t)n_experts * (size_t)(2 * n) * (size_t)d,
                              4 / sqrtf((float)d), &w);
    source = sweep_host(s, S, sizeof(*source));
    for (size_t i = 0; i < S; i++)
        source[i] = (int32_t)sweep_below(s, T);
    if (ordered) {
        order = sweep_upload(s, source, S * 4);
        rows = sweep_span(s, sweep_act_size(s, S * (size_t)d));
    }
    gate_up = sweep_span(s, 2 * size);
    y = sweep_span(s, size + BEHIND);
    if (sweep_ok(s,
                 s->ops->expert_swiglu(s->b, y, x, order, w, offsets, n_experts,
                                       ordered ? T : (int)S, d, n, rows, gate_up),
                 "expert_swiglu")) {
        sweep_expect(
            s, "expert_swiglu", sweep_read_act(s, y, S * (size_t)n),
            wanted_swiglu(s, in, ordered ? source : NULL, weight, offsets, n_experts, d, n),
            S * (size_t)n, tol, SWEEP_ACT);
        all = sweep_read(s, y, size + BEHIND);
        for (size_t i = 0; i < BEHIND; i++)
            sweep_check(s, all[size + i] == 0xff, "expert_swiglu: wrote behind y");
    }
    sweep_end(s);
}

void sweep_moe(struct sweep *s) {
    static const int sizes[] = {1, 3, 63, 64, 65, 257};

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        route_case(s, sizes[i], 48, 8, 2, true);
        route_case(s, sizes[i], 33, 64, 8, false);
        experts_case(s, sizes[i], 31, 7, 3, 0);
        experts_case(s, sizes[i], 64, 64, 8, 5);
    }
    route_case(s, 5, 16, 3, 3, true);
    route_case(s, 5, 16, 1, 1, true);
    route_ties_case(s, 0);
    route_ties_case(s, NAN);
    experts_case(s, 700, 257, 3, 1, 2);
    experts_case(s, 9, 1, 1, 1, 0);
    for (int ordered = 0; ordered < 2; ordered++) {
        expert_swiglu_case(s, 7, 2048, 128, ordered);
        expert_swiglu_case(s, 40, 64, 1024, ordered);
        expert_swiglu_case(s, 2 + ordered, 64, 128, ordered);
        expert_swiglu_case(s, 6, 128, 256, ordered);
        expert_swiglu_case(s, 7, 96, 128, ordered);
        expert_swiglu_case(s, 7, 64, 72, ordered);
        expert_swiglu_case(s, 5, 31, 7, ordered);
    }
}
