// SPDX-License-Identifier: Apache-2.0
/*
 * cuda against cpu at sizes that the sweep's plain loops would not live to see: several tiles and
 * chunks of every kernel. Inputs are bf16 values, so both backends compute the same function.
 */
#include "base/macros.h"
#include "kernels/registry.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXIT_SKIP 77
#define MAX_HELD 64

enum { CPU, CUDA, N_SIDES };

/* The same thing on both sides. */
struct both {
    struct span side[N_SIDES];
};

struct compare {
    struct backend *b[N_SIDES];
    struct both held[MAX_HELD];
    int n_held, n_failed;
    uint64_t random;
};

static const struct backend_ops *ops_of(const struct compare *c, int side) {
    return c->b[side]->ops;
}

static void *memory(size_t n, size_t size) {
    void *p = calloc(n, size);

    if (!p)
        exit(EXIT_FAILURE);
    return p;
}

static void must(struct compare *c, int side, int r) {
    if (r == 0)
        return;
    printf("FAIL %s\n", ops_of(c, side)->failure(c->b[side])->detail);
    exit(EXIT_FAILURE);
}

/* Calls an op of both backends; S is the side in its arguments. */
#define BOTH(c, op, ...)                                                                           \
    for (int S = 0; S < N_SIDES; S++)                                                              \
    must(c, S, ops_of(c, S)->op((c)->b[S], ##__VA_ARGS__))

static struct both take(struct compare *c, size_t size) {
    struct both both;

    for (int side = 0; side < N_SIDES; side++)
        must(c, side, ops_of(c, side)->alloc(c->b[side], size, &both.side[side]));
    if (c->n_held == MAX_HELD)
        exit(EXIT_FAILURE);
    return c->held[c->n_held++] = both;
}

static void give_back(struct compare *c) {
    while (c->n_held > 0) {
        struct both *both = &c->held[--c->n_held];

        for (int side = 0; side < N_SIDES; side++)
            ops_of(c, side)->free(c->b[side], &both->side[side]);
    }
}

static struct both take_same(struct compare *c, const void *data, size_t size) {
    struct both both = take(c, size);

    BOTH(c, upload, both.side[S], data);
    BOTH(c, sync);
    return both;
}

static struct both take_act(struct compare *c, size_t n) {
    return take(c, n * sizeof(float)); /* as large as any act */
}

static float noise(struct compare *c) {
    c->random ^= c->random << 13;
    c->random ^= c->random >> 7;
    c->random ^= c->random << 17;
    return (float)(c->random >> 40) * 0x1p-23f - 1;
}

/* @n random bf16 values below @scale. */
static struct both random_act(struct compare *c, size_t n, float scale) {
    struct both both = take_act(c, n);
    uint16_t *data = memory(n, sizeof(*data));

    for (size_t i = 0; i < n; i++)
        data[i] = f32_to_bf16(noise(c) * scale);
    BOTH(c, stage, both.side[S], data, DTYPE_BF16, n);
    BOTH(c, stage_wait);
    BOTH(c, sync);
    free(data);
    return both;
}

static float *read_floats(struct compare *c, const struct both *both, int side, size_t n,
                          enum dtype dtype) {
    size_t size = n * dtype_size(dtype);
    void *raw = memory(n, sizeof(float));
    float *x = memory(n, sizeof(*x));

    must(c, side,
         ops_of(c, side)->download(c->b[side], raw, span_slice(both->side[side], 0, size)));
    dtype_to_f32(x, raw, dtype, n);
    free(raw);
    return x;
}

/* ||cuda - cpu|| / ||cpu|| is at most @tol; dtype F32, or BF16 for "act". */
static void expect(struct compare *c, const char *what, const struct both *both, size_t n,
                   enum dtype dtype, double tol) {
    float *x[N_SIDES];
    double error = 0, size = 0;

    for (int side = 0; side < N_SIDES; side++)
        x[side] =
            read_floats(c, both, side, n, dtype == DTYPE_BF16 ? ops_of(c, side)->act : DTYPE_F32);
    for (size_t i = 0; i < n; i++) {
        double d = (double)x[CUDA][i] - (double)x[CPU][i];

        error += d * d;
        size += (double)x[CPU][i] * (double)x[CPU][i];
    }
    error = sqrt(error / size);
    printf("%-4s %-44s off by %.2g, allowed %.2g\n", error <= tol ? "ok" : "FAIL", what, error,
           tol);
    c->n_failed += !(error <= tol);
    free(x[CPU]);
    free(x[CUDA]);
}

/* At least the part @least of @n bytes or words of @size agree. */
static void expect_same(struct compare *c, const char *what, const struct both *both, size_t n,
                        size_t size, double least) {
    unsigned char *x[N_SIDES];
    size_t same = 0;

    for (int side = 0; side < N_SIDES; side++) {
        x[side] = memory(n, size);
        must(c, side,
             ops_of(c, side)->download(c->b[side], x[side],
                                       span_slice(both->side[side], 0, n * size)));
    }
    for (size_t i = 0; i < n; i++)
        same += memcmp(x[CPU] + i * size, x[CUDA] + i * size, size) == 0;
    printf("%-4s %-44s %.4f %% the same, at least %.4f %%\n",
           (double)same >= least * (double)n ? "ok" : "FAIL", what, 100 * (double)same / (double)n,
           100 * least);
    c->n_failed += (double)same < least * (double)n;
    free(x[CPU]);
    free(x[CUDA]);
}

#define TOL_ACT 4e-3 /* a result rounded to bf16: 2^-9 at most, and sums in another order */

static void compare_attention(struct compare *c, int n_windows, int seqlen, int heads, int kv_heads,
                              int head_dim) {
    size_t T = (size_t)n_windows * (size_t)seqlen;
    struct both qkv = random_act(c, T * (size_t)((heads + 2 * kv_heads) * head_dim), 3);
    struct both y = take_act(c, T * (size_t)(heads * head_dim));
    char what[96];

    BOTH(c, attention, y.side[S], qkv.side[S], n_windows, seqlen, heads, kv_heads, head_dim);
    snprintf(what, sizeof(what), "attention %d x %d, %d heads on %d, %d", n_windows, seqlen, heads,
             kv_heads, head_dim);
    expect(c, what, &y, T * (size_t)(heads * head_dim), DTYPE_BF16, 2 * TOL_ACT);
    give_back(c);
}

static void compare_forward(struct compare *c) {
    enum { T = 2100, N = 512, M = 768, VOCAB = 9000 };
    struct both x = random_act(c, (size_t)T * N, 1), w = random_act(c, (size_t)M * N, 1);
    struct both table = random_act(c, (size_t)VOCAB * N, 0.1f), y = take_act(c, (size_t)T * M);
    struct both nll = take(c, T * 4), lse = take(c, T * 4), best = take(c, T * 4), targets, scratch;
    int32_t *ids = memory(T, sizeof(*ids));
    size_t need = 1;

    for (int i = 0; i < T; i++)
        ids[i] = (int32_t)((unsigned)i * 2654435761u % VOCAB);
    targets = take_same(c, ids, T * 4);
    for (int side = 0; side < N_SIDES; side++)
        need = MAX(need, ops_of(c, side)->head_scratch(c->b[side], T, N, VOCAB));
    scratch = take(c, need);
    BOTH(c, linear, y.side[S], x.side[S], w.side[S], T, N, M, false);
    expect(c, "linear 2100 x 512 -> 768", &y, (size_t)T * M, DTYPE_BF16, TOL_ACT);
    BOTH(c, rope, y.side[S], M, T, 700, 6, 128, 10000.0f);
    expect(c, "rope", &y, (size_t)T * M, DTYPE_BF16, 2 * TOL_ACT);
    BOTH(c, rmsnorm, x.side[S], N, x.side[S], N, w.side[S], T, N, 1e-5f);
    expect(c, "rmsnorm", &x, (size_t)T * N, DTYPE_BF16, TOL_ACT);
    x = random_act(c, (size_t)T * N, 1);
    BOTH(c, head, nll.side[S], lse.side[S], best.side[S], x.side[S], table.side[S], targets.side[S],
         T, N, VOCAB, scratch.side[S]);
    expect(c, "head nll, 2100 x 9000", &nll, T, DTYPE_F32, 1e-5);
    expect(c, "head lse", &lse, T, DTYPE_F32, 1e-5);
    expect_same(c, "head best", &best, T, 4, 0.999);
    free(ids);
    give_back(c);
}

/* One model's head after the other's: hidden states and weights that differ a little. */
static void compare_difference(struct compare *c) {
    enum { T = 2100, N = 512, VOCAB = 9000 };
    struct both x[2], w[2], kl = take(c, T * 4), nll[2], best[2], targets, scratch;
    int32_t *ids = memory(T, sizeof(*ids));
    size_t need = 1;

    for (int i = 0; i < T; i++)
        ids[i] = (int32_t)((unsigned)i * 2654435761u % VOCAB);
    targets = take_same(c, ids, T * 4);
    for (int i = 0; i < 2; i++) {
        x[i] = random_act(c, (size_t)T * N, 1);
        w[i] = random_act(c, (size_t)VOCAB * N, 0.1f);
        nll[i] = take(c, T * 4);
        best[i] = take(c, T * 4);
    }
    for (int side = 0; side < N_SIDES; side++)
        need = MAX(need, ops_of(c, side)->head_difference_scratch(c->b[side], T, N, VOCAB));
    scratch = take(c, need);
    for (int S = 0; S < N_SIDES; S++) {
        struct head_side sides[2];

        for (int i = 0; i < 2; i++)
            sides[i] =
                (struct head_side){x[i].side[S], w[i].side[S], nll[i].side[S], best[i].side[S]};
        must(c, S,
             ops_of(c, S)->head_difference(c->b[S], kl.side[S], &sides[0], &sides[1],
                                           targets.side[S], T, N, VOCAB, scratch.side[S]));
    }
    expect(c, "head_difference kl, 2100 x 9000", &kl, T, DTYPE_F32, 1e-4);
    expect(c, "head_difference nll, other", &nll[1], T, DTYPE_F32, 1e-5);
    expect_same(c, "head_difference best, base", &best[0], T, 4, 0.999);
    free(ids);
    give_back(c);
}

static void compare_experts(struct compare *c) {
    enum { T = 3000, D = 256, E = 64, K = 8, N = 512, SLOTS = T * K };
    struct both x = random_act(c, (size_t)T * D, 1), w = random_act(c, (size_t)E * D, 0.2f);
    struct both experts = take(c, SLOTS * 4), weights = take(c, SLOTS * 4);
    struct both order = take(c, SLOTS * 4), position = take(c, SLOTS * 4);
    struct both xs = take_act(c, (size_t)SLOTS * D), y = take_act(c, (size_t)SLOTS * N);
    struct both we = random_act(c, (size_t)E * N * D, 1), mid = take_act(c, (size_t)SLOTS * N / 2);
    struct both wd = random_act(c, (size_t)E * N / 2 * D, 0.1f);
    int32_t offsets[N_SIDES][E + 1];
    void *chosen = memory(SLOTS, 4);

    BOTH(c, route, experts.side[S], weights.side[S], x.side[S], w.side[S], T, D, E, K, true);
    expect_same(c, "route", &experts, SLOTS, 4, 0.999);
    must(c, CPU, ops_of(c, CPU)->download(c->b[CPU], chosen, experts.side[CPU]));
    must(c, CUDA, ops_of(c, CUDA)->upload(c->b[CUDA], experts.side[CUDA], chosen));
    BOTH(c, dispatch, order.side[S], position.side[S], offsets[S], experts.side[S], T, E, K);
    expect_same(c, "dispatch, order", &order, SLOTS, 4, 1);
    expect_same(c, "dispatch, position", &position, SLOTS, 4, 1);
    if (memcmp(offsets[CPU], offsets[CUDA], sizeof(offsets[CPU])) != 0) {
        puts("FAIL dispatch, offsets");
        c->n_failed++;
    }
    BOTH(c, gather, xs.side[S], x.side[S], order.side[S], SLOTS, T, D);
    BOTH(c, expert_linear, y.side[S], xs.side[S], we.side[S], offsets[S], E, D, N);
    expect(c, "expert_linear", &y, (size_t)SLOTS * N, DTYPE_BF16, TOL_ACT);
    BOTH(c, swiglu, mid.side[S], y.side[S], SLOTS, N / 2);
    expect(c, "swiglu", &mid, (size_t)SLOTS * N / 2, DTYPE_BF16, 2 * TOL_ACT);
    BOTH(c, expert_swiglu, mid.side[S], x.side[S], order.side[S], we.side[S], offsets[S], E, T, D,
         N / 2, xs.side[S], y.side[S]);
    expect(c, "expert_swiglu", &mid, (size_t)SLOTS * N / 2, DTYPE_BF16, 2 * TOL_ACT);
    BOTH(c, expert_linear, xs.side[S], mid.side[S], wd.side[S], offsets[S], E, N / 2, D);
    BOTH(c, combine, x.side[S], xs.side[S], position.side[S], weights.side[S], T, D, K);
    expect(c, "experts, combined", &x, (size_t)T * D, DTYPE_BF16, 3 * TOL_ACT);
    free(chosen);
    give_back(c);
}

/* The same grid for rtn, which has no Hessian. */
static struct grid without_hessian(const struct grid *grid) {
    struct grid other = *grid;

    if (other.fit == GRID_HESSIAN)
        other.fit = GRID_MSE;
    return other;
}

static const char *const fit_labels[] = {
    [GRID_MINMAX] = "", [GRID_MSE] = ", mse", [GRID_HESSIAN] = ", hessian"};

/* What was found to be alike becomes the cpu's on both sides, so that it explains nothing else. */
static void share(struct compare *c, const struct both *both, size_t size) {
    void *host = memory(size, 1);

    must(c, CPU, ops_of(c, CPU)->download(c->b[CPU], host, both->side[CPU]));
    must(c, CUDA, ops_of(c, CUDA)->upload(c->b[CUDA], both->side[CUDA], host));
    free(host);
}

/* Memory for every op of the solver, on either side. */
static struct both solver_scratch(struct compare *c, int G, int rows, int n) {
    size_t need = 1;

    for (int side = 0; side < N_SIDES; side++) {
        need = MAX(need, ops_of(c, side)->factor_scratch(c->b[side], G, n));
        need = MAX(need, ops_of(c, side)->drift_scratch(c->b[side], G, n));
        need = MAX(need, ops_of(c, side)->gptq_scratch(c->b[side], G, rows, n, true));
        need = MAX(need, ops_of(c, side)->output_error_scratch(c->b[side], G, rows, n));
    }
    return take(c, need);
}

/*
 * The correction for inputs x that have drifted from others. Its drift is the cpu's on both sides:
 * what rounding to bf16 makes of it is known by then.
 */
static struct both compare_drift(struct compare *c, const struct both *x, const struct both *u,
                                 const struct both *perm, const int32_t *offsets, int G, int n,
                                 const struct both *scratch) {
    size_t size = (size_t)(G * n) * (size_t)n * 4;
    struct both x0 = random_act(c, (size_t)(3 * G * n) * (size_t)n, 1);
    struct both d = take(c, size), p = take(c, size);

    BOTH(c, zero, d.side[S]);
    BOTH(c, cross_add, d.side[S], x0.side[S], x->side[S], offsets, G, n);
    expect(c, "cross_add", &d, size / 4, DTYPE_F32, TOL_ACT);
    share(c, &d, size);
    BOTH(c, drift_correction, p.side[S], d.side[S], u->side[S], perm->side[S], 0.5f, G, n,
         scratch->side[S]);
    BOTH(c, sync);
    return p;
}

/*
 * The part of the codes that must agree: a code at a tie may fall either way, and then the rest of
 * its row differs. So does it where a grid that is sought among weights with updates is another.
 */
static double least_same(const struct grid *grid, bool act_order, bool static_groups) {
    if (grid->sub_bits)
        return 0.95; /* other sums may choose another grid */
    if (grid->fit == GRID_MINMAX || !act_order)
        return 0.98;
    return static_groups ? 0.97 : 0.85; /* 97.8 % was seen */
}

/* A struct quantized of both sides. */
struct both_quantized {
    struct both codes, scales, zeros, g_idx, d, dmin;
};

static struct both_quantized take_quantized(struct compare *c, const struct grid *grid, int G,
                                            int rows, int n) {
    size_t weights = (size_t)(G * rows * n), grids = weights / (size_t)grid->groupsize;
    struct both_quantized q = {.codes = take(c, weights),
                               .scales = take(c, grids * 2),
                               .zeros = take(c, grids),
                               .g_idx = take(c, (size_t)(G * n) * 4)};

    if (grid->sub_bits)
        q.d = take(c, weights / GRID_SUPER * 2);
    if (grid->sub_bits && !grid->sym)
        q.dmin = take(c, weights / GRID_SUPER * 2);
    return q;
}

static struct quantized quantized_side(const struct both_quantized *q, int S) {
    return (struct quantized){q->codes.side[S], q->scales.side[S], q->zeros.side[S],
                              q->g_idx.side[S], q->d.side[S],      q->dmin.side[S]};
}

/* rtn(), pack() and unpack(). */
static void compare_nearest(struct compare *c, const struct both_quantized *q, const struct both *w,
                            const struct both *dq, const struct grid *grid, int G, int rows,
                            int n) {
    const struct grid nearest = without_hessian(grid);
    double least = grid->sub_bits ? 0.95 : nearest.fit == GRID_MSE ? 0.99 : 1;
    size_t weights = (size_t)(G * rows * n);
    struct both packed = take(c, weights);

    for (int S = 0; S < N_SIDES; S++) {
        const struct quantized side = quantized_side(q, S);

        must(c, S,
             ops_of(c, S)->rtn(c->b[S], &side, dq->side[S], w->side[S], &nearest, G, rows, n));
    }
    expect_same(c, "rtn codes", &q->codes, weights, 1, least);
    if (grid->sub_bits)
        expect_same(c, "rtn d", &q->d, weights / GRID_SUPER, 2, least);
    BOTH(c, pack, packed.side[S], q->codes.side[S], grid->wbits, G, rows, n);
    BOTH(c, unpack, dq->side[S], packed.side[S], grid->wbits, G, rows, n);
    expect_same(c, "unpacked", dq, weights, 1, least);
}

static void compare_solver(struct compare *c, int G, int rows, int n, const struct grid *grid,
                           bool act_order, bool static_groups) {
    size_t weights = (size_t)(G * rows * n), size = (size_t)(G * n) * (size_t)n * 4;
    struct both x = random_act(c, (size_t)(3 * G * n) * (size_t)n, 1), h = take(c, size);
    struct both u = take(c, size), perm = take(c, (size_t)(G * n) * 4), p, w, dq;
    struct both num = take(c, (size_t)(G * rows) * 4), den = take(c, (size_t)(G * rows) * 4);
    struct both_quantized q = take_quantized(c, grid, G, rows, n);
    struct both scratch = solver_scratch(c, G, rows, n);
    double least = least_same(grid, act_order, static_groups);
    int32_t *offsets = memory((size_t)G + 1, 4), *info = memory((size_t)G, 4);
    float *damp = memory((size_t)G, 4), *condition = memory((size_t)G, 4);

    printf("-- solver: %d x [%d, %d], %d bits, groups of %d%s%s%s%s\n", G, rows, n, grid->wbits,
           grid->groupsize, act_order ? ", act-order" : "", static_groups ? ", static" : "",
           fit_labels[grid->fit], grid->sub_bits ? ", K" : "");
    w = random_act(c, weights, 0.05f);
    dq = take_act(c, weights);
    for (int g = 0; g < G; g++) {
        damp[g] = 0.01f;
        offsets[g + 1] = offsets[g] + 2 * n + 100 * g;
    }
    BOTH(c, zero, h.side[S]);
    BOTH(c, hessian_add, h.side[S], x.side[S], offsets, G, n);
    BOTH(c, hessian_order, perm.side[S], h.side[S], G, n, act_order);
    expect_same(c, "hessian_order", &perm, (size_t)(G * n), 4, 0.99);
    share(c, &perm, (size_t)(G * n) * 4);
    BOTH(c, factor, u.side[S], h.side[S], perm.side[S], damp, info, condition, G, n,
         scratch.side[S]);
    p = compare_drift(c, &x, &u, &perm, offsets, G, n, &scratch);
    for (int drift = 1; drift >= 0; drift--) {
        for (int S = 0; S < N_SIDES; S++) {
            const struct quantized side = quantized_side(&q, S);

            must(c, S,
                 ops_of(c, S)->gptq(c->b[S], &side, dq.side[S], w.side[S], u.side[S], perm.side[S],
                                    drift ? p.side[S] : (struct span){}, h.side[S], grid,
                                    static_groups, G, rows, n, scratch.side[S]));
        }
        expect_same(c, drift ? "gptq codes, drift" : "gptq codes", &q.codes, weights, 1, least);
    }
    BOTH(c, output_error, num.side[S], den.side[S], w.side[S], dq.side[S], h.side[S], G, rows, n,
         scratch.side[S]);
    expect(c, "output_error num", &num, (size_t)(G * rows), DTYPE_F32, (1 - least) / 2);
    expect(c, "output_error den", &den, (size_t)(G * rows), DTYPE_F32, 1e-5);
    compare_nearest(c, &q, &w, &dq, grid, G, rows, n);
    free(offsets);
    free(info);
    free(condition);
    free(damp);
    give_back(c);
}

static void compare_all(struct compare *c) {
    static const struct grid four = {4, 128, false, GRID_MINMAX},
                             three = {3, 64, true, GRID_MINMAX};
    static const struct grid rows = {2, 512, false, GRID_MINMAX}, mse = {4, 32, false, GRID_MSE};
    static const struct grid hessian = {3, 128, false, GRID_HESSIAN};
    static const struct grid q2_k = {2, 16, false, GRID_HESSIAN, 4},
                             q3_k = {3, 16, true, GRID_HESSIAN, 6},
                             q4_k = {4, 32, false, GRID_HESSIAN, 6};

    compare_attention(c, 2, 200, 4, 2, 128);
    compare_attention(c, 1, 2048, 2, 1, 128);
    compare_attention(c, 3, 1000, 8, 2, 128);
    compare_attention(c, 1, 4095, 2, 2, 128);
    compare_attention(c, 3, 513, 2, 2, 64);
    compare_attention(c, 2, 128, 3, 3, 80);
    compare_forward(c);
    compare_difference(c);
    compare_experts(c);
    compare_solver(c, 2, 300, 1024, &four, true, false);
    compare_solver(c, 2, 129, 640, &three, true, true);
    compare_solver(c, 1, 100, 512, &rows, true, false);
    compare_solver(c, 3, 64, 256, &mse, false, false);
    compare_solver(c, 2, 300, 1024, &hessian, true, false);
    compare_solver(c, 2, 300, 1024, &hessian, true, true);
    compare_solver(c, 2, 300, 1024, &q2_k, true, true);
    compare_solver(c, 2, 300, 1024, &q3_k, true, true);
    compare_solver(c, 2, 300, 1024, &q4_k, false, true);
}

int main(void) {
    struct compare c = {.random = 88172645463325252};
    struct failure failure = {};
    int n = 0;

    backend_count("cuda", &n);
    if (n == 0) {
        backend_open("cuda:0", &c.b[CUDA], &failure);
        printf("skipped: %s (%s)\n", failure.detail, failure.hint);
        return EXIT_SKIP;
    }
    if (backend_open("cpu", &c.b[CPU], &failure) < 0 ||
        backend_open("cuda:0", &c.b[CUDA], &failure) < 0) {
        printf("FAIL %s\n", failure.detail);
        return EXIT_FAILURE;
    }
    compare_all(&c);
    for (int side = 0; side < N_SIDES; side++)
        ops_of(&c, side)->close(c.b[side]);
    return c.n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
