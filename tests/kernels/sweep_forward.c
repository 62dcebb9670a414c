// SPDX-License-Identifier: Apache-2.0
/* Memory and the dense forward ops. */
#include "tests/kernels/reference.h"
#include "tests/kernels/sweep.h"

#include <math.h>
#include <string.h>

/* f32 sums of up to some thousand terms, measured by the largest result. */
#define TOL_SUM 1e-5
/* exp and division on top of such sums. */
#define TOL_SOFTMAX 2e-5
/* Angles are f32: at position 200 they are off by 200 * 2^-24, and so are sine and cosine. */
#define TOL_ROPE 5e-5

static void memory_case(struct sweep *s, size_t size) {
    unsigned char *data;
    struct span a, b;
    struct backend_info info;

    sweep_begin(s);
    data = sweep_host(s, size, 1);
    for (size_t i = 0; i < size; i++)
        data[i] = (unsigned char)sweep_below(s, 256);
    a = sweep_upload(s, data, size);
    b = sweep_span(s, size);
    s->ops->info(s->b, &info);
    sweep_check(s, info.memory_allocated >= 2 * size && info.memory_peak >= 2 * size,
                "info: %zu bytes allocated, %zu at most", info.memory_allocated, info.memory_peak);
    sweep_check(s, !(info.utilization > 1), "info: utilization %g", info.utilization);
    sweep_check(s, (uintptr_t)a.at % 256 == 0, "alloc: not aligned");
    if (sweep_ok(s, s->ops->copy(s->b, b, a), "copy"))
        sweep_check(s, memcmp(sweep_read(s, b, size), data, size) == 0, "copy of %zu bytes", size);
    if (sweep_ok(s, s->ops->zero(s->b, b), "zero")) {
        unsigned char *zeros = sweep_read(s, b, size);

        sweep_check(s, zeros[0] == 0 && memcmp(zeros, zeros + 1, size - 1) == 0, "zero of %zu",
                    size);
    }
    memset(data, 0, size);
    if (sweep_ok(s, s->ops->fetch(s->b, data, a), "fetch") &&
        sweep_ok(s, s->ops->fetch_wait(s->b), "fetch_wait"))
        sweep_check(s, memcmp(sweep_read(s, a, size), data, size) == 0, "fetch of %zu", size);
    sweep_end(s);
}

static void stage_case(struct sweep *s, enum dtype dtype, size_t n) {
    size_t size = n * dtype_size(dtype);
    unsigned char *bytes;
    float *want;
    double *wide;
    struct span dst;

    sweep_begin(s);
    bytes = sweep_host(s, size + 1, 1);
    want = sweep_host(s, n, sizeof(*want));
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = sweep_below(s, 1u << 15) | 0x3000; /* finite in either half */
        float f = (float)sweep_uniform(s);

        /* at an odd address, as tensors of a file may stand */
        memcpy(bytes + 1 + i * dtype_size(dtype), dtype == DTYPE_F32 ? (void *)&f : (void *)&bits,
               dtype_size(dtype));
        if (dtype != DTYPE_F32)
            bytes[1 + 2 * i + 1] &= 0x3f;
    }
    dtype_to_f32(want, bytes + 1, dtype, n);
    dst = sweep_span(s, sweep_act_size(s, n));
    if (sweep_ok(s, s->ops->stage(s->b, dst, bytes + 1, dtype, n), "stage") &&
        sweep_ok(s, s->ops->stage_wait(s->b), "stage_wait")) {
        wide = sweep_doubles(s, want, n);
        sweep_expect(s, dtype_name(dtype), sweep_read_act(s, dst, n), wide, n, 0, SWEEP_ACT);
    }
    sweep_end(s);
}

/* Bytes, at an odd address, stay what they are. */
static void stage_bytes_case(struct sweep *s, size_t n) {
    unsigned char *bytes;
    struct span dst;

    sweep_begin(s);
    bytes = sweep_host(s, n + 1, 1);
    for (size_t i = 0; i <= n; i++)
        bytes[i] = (unsigned char)sweep_below(s, 256);
    dst = sweep_span(s, n);
    if (sweep_ok(s, s->ops->stage(s->b, dst, bytes + 1, DTYPE_U8, n), "stage") &&
        sweep_ok(s, s->ops->stage_wait(s->b), "stage_wait"))
        sweep_check(s, memcmp(sweep_read(s, dst, n), bytes + 1, n) == 0, "stage of %zu bytes", n);
    sweep_end(s);
}

/* @bad stands at @at among finite values, the largest ones included. */
static void all_finite_case(struct sweep *s, size_t n, size_t at, float bad) {
    bool finite = isfinite(bad) == 0; /* the wrong answer */
    struct span x;
    float *in;

    sweep_begin(s);
    in = sweep_random_act(s, n, 0x1p127f, &x);
    in[at] = bad;
    x = sweep_upload_act(s, in, n);
    if (sweep_ok(s, s->ops->all_finite(s->b, x, n, &finite), "all_finite"))
        sweep_check(s, finite == (isfinite(bad) != 0), "all_finite: %g at %zu of %zu", (double)bad,
                    at, n);
    sweep_end(s);
}

void sweep_memory(struct sweep *s) {
    static const float bad[] = {INFINITY, -INFINITY, NAN, 0};
    static const size_t sizes[] = {1, 255, 4096, 262143, 262145, (size_t)5 << 20};
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};
    struct span empty = {};

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        memory_case(s, sizes[i]);
        stage_bytes_case(s, sizes[i]);
    }
    stage_bytes_case(s, (size_t)20 << 20);
    for (size_t i = 0; i < ARRAY_SIZE(dtypes); i++) {
        stage_case(s, dtypes[i], 1);
        stage_case(s, dtypes[i], 262145);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        all_finite_case(s, 1, 0, bad[i]);
        all_finite_case(s, 257, 256, bad[i]);
        all_finite_case(s, 262145, 262144, bad[i]);
        all_finite_case(s, 600000, 300000, bad[i]);
    }
    s->ops->free(s->b, &empty);
}

static void embed_case(struct sweep *s, int T, int d, int vocab) {
    size_t n = (size_t)T * (size_t)d;
    struct span table, x, ids;
    float *rows;
    double *want;
    int32_t *id;

    sweep_begin(s);
    rows = sweep_random_act(s, (size_t)vocab * (size_t)d, 1, &table);
    id = sweep_host(s, (size_t)T, sizeof(*id));
    want = sweep_host(s, n, sizeof(*want));
    for (int t = 0; t < T; t++)
        id[t] = (int32_t)sweep_below(s, (uint32_t)vocab);
    for (size_t i = 0; i < n; i++)
        want[i] = (double)rows[(size_t)id[i / (size_t)d] * (size_t)d + i % (size_t)d];
    ids = sweep_upload(s, id, (size_t)T * sizeof(*id));
    x = sweep_span(s, sweep_act_size(s, n));
    if (sweep_ok(s, s->ops->embed(s->b, x, table, ids, T, d, vocab), "embed"))
        sweep_expect(s, "embed", sweep_read_act(s, x, n), want, n, 0, SWEEP_F32);
    sweep_end(s);
}

/* Rows are @gap elements longer than what is normed; those must stay as they were. */
static void rmsnorm_case(struct sweep *s, int T, int n, int gap, bool in_place) {
    int ld = n + gap;
    size_t size = (size_t)T * (size_t)ld;
    struct span x, y, w;
    float *in, *weight, *out, *got;
    double *want;

    sweep_begin(s);
    in = sweep_random_act(s, size, 3, &x);
    weight = sweep_random_act(s, (size_t)n, 1, &w);
    y = in_place ? x : sweep_span(s, sweep_act_size(s, size));
    want = sweep_host(s, (size_t)T * (size_t)n, sizeof(*want));
    got = sweep_host(s, (size_t)T * (size_t)n, sizeof(*got));
    ref_rmsnorm(want, in, ld, weight, T, n, 1e-5);
    if (sweep_ok(s, s->ops->rmsnorm(s->b, y, ld, x, ld, w, T, n, 1e-5f), "rmsnorm")) {
        out = sweep_read_act(s, y, size);
        for (int t = 0; t < T; t++) {
            memcpy(got + (size_t)t * (size_t)n, out + (size_t)t * (size_t)ld,
                   (size_t)n * sizeof(float));
            for (int i = n; in_place && i < ld; i++)
                sweep_check(s, out[t * ld + i] == in[t * ld + i], "rmsnorm: wrote between rows");
        }
        sweep_expect(s, "rmsnorm", got, want, (size_t)T * (size_t)n, TOL_SUM, SWEEP_ACT);
    }
    sweep_end(s);
}

static void linear_case(struct sweep *s, int T, int n_in, int n_out, bool add) {
    size_t size = (size_t)T * (size_t)n_out;
    struct span x, y, w;
    float *in, *weight, *before;
    double *want;

    sweep_begin(s);
    in = sweep_random_act(s, (size_t)T * (size_t)n_in, 1, &x);
    weight = sweep_random_act(s, (size_t)n_out * (size_t)n_in, 1, &w);
    before = add ? sweep_random_act(s, size, 1, &y) : NULL;
    if (!add)
        y = sweep_span(s, sweep_act_size(s, size));
    want = sweep_doubles(s, before, size);
    ref_linear(want, in, weight, T, n_in, n_out, add);
    if (sweep_ok(s, s->ops->linear(s->b, y, x, w, T, n_in, n_out, add), "linear"))
        sweep_expect(s, "linear", sweep_read_act(s, y, size), want, size, TOL_SUM, SWEEP_ACT);
    sweep_end(s);
}

static void clamp_case(struct sweep *s, size_t n) {
    struct span x;
    double *want;
    float *in;

    sweep_begin(s);
    in = sweep_random_act(s, n, 4, &x);
    want = sweep_doubles(s, in, n);
    for (size_t i = 0; i < n; i++)
        want[i] = fmin(fmax(want[i], -1.5), 1.5);
    if (sweep_ok(s, s->ops->clamp(s->b, x, n, 1.5f), "clamp"))
        sweep_expect(s, "clamp", sweep_read_act(s, x, n), want, n, 0, SWEEP_F32);
    sweep_end(s);
}

static void rope_case(struct sweep *s, int n_windows, int seqlen, int n_heads, int head_dim,
                      int gap) {
    int T = n_windows * seqlen, ld = n_heads * head_dim + gap;
    size_t n = (size_t)T * (size_t)ld;
    struct span x;
    double *want;
    float *in;

    sweep_begin(s);
    in = sweep_random_act(s, n, 1, &x);
    want = sweep_doubles(s, in, n);
    ref_rope(want, in, ld, T, seqlen, n_heads, head_dim, 10000);
    if (sweep_ok(s, s->ops->rope(s->b, x, ld, T, seqlen, n_heads, head_dim, 10000.0f), "rope"))
        sweep_expect(s, "rope", sweep_read_act(s, x, n), want, n, TOL_ROPE, SWEEP_ACT);
    sweep_end(s);
}

static void attention_case(struct sweep *s, int n_windows, int seqlen, int n_heads, int n_kv_heads,
                           int head_dim) {
    size_t T = (size_t)n_windows * (size_t)seqlen, n = T * (size_t)(n_heads * head_dim);
    struct span qkv, y;
    double *want;
    float *in;

    sweep_begin(s);
    in = sweep_random_act(s, T * (size_t)((n_heads + 2 * n_kv_heads) * head_dim), 2, &qkv);
    want = sweep_host(s, n, sizeof(*want));
    y = sweep_span(s, sweep_act_size(s, n));
    ref_attention(want, in, n_windows, seqlen, n_heads, n_kv_heads, head_dim);
    if (sweep_ok(s,
                 s->ops->attention(s->b, y, qkv, n_windows, seqlen, n_heads, n_kv_heads, head_dim),
                 "attention"))
        sweep_expect(s, "attention", sweep_read_act(s, y, n), want, n, TOL_SOFTMAX, SWEEP_ACT);
    sweep_end(s);
}

static void swiglu_case(struct sweep *s, int S, int n) {
    size_t size = (size_t)S * (size_t)n;
    struct span gu, y;
    double *want;
    float *in;

    sweep_begin(s);
    in = sweep_random_act(s, 2 * size, 90, &gu); /* e^90 is beyond f32 */
    want = sweep_host(s, size, sizeof(*want));
    for (size_t i = 0; i < size; i++) {
        size_t at = i / (size_t)n * 2 * (size_t)n + i % (size_t)n;
        double g = (double)in[at];

        want[i] = g / (1 + exp(-g)) * (double)in[at + (size_t)n];
    }
    y = sweep_span(s, sweep_act_size(s, size));
    if (sweep_ok(s, s->ops->swiglu(s->b, y, gu, S, n), "swiglu"))
        sweep_expect(s, "swiglu", sweep_read_act(s, y, size), want, size, TOL_SUM, SWEEP_ACT);
    sweep_end(s);
}

/* The largest logit stands twice in a row's ties, far apart: the lower index must win. */
static void head_case(struct sweep *s, int T, int d, int vocab) {
    size_t rows = (size_t)T, size = s->ops->head_scratch(s->b, T, d, vocab);
    struct span x, w, targets, nll, lse, best, scratch = {};
    float *in, *weight;
    double *want_nll, *want_lse, *logits;
    int32_t *target, *got;

    sweep_begin(s);
    in = sweep_random_act(s, rows * (size_t)d, 1, &x);
    weight = sweep_random_act(s, (size_t)vocab * (size_t)d, 1, &w);
    memcpy(weight + (size_t)(vocab - 1) * (size_t)d, weight, (size_t)d * sizeof(float));
    w = sweep_upload_act(s, weight, (size_t)vocab * (size_t)d);
    target = sweep_host(s, rows, sizeof(*target));
    for (int t = 0; t < T; t++)
        target[t] = t == 0 ? vocab - 1 : (int32_t)sweep_below(s, (uint32_t)vocab);
    want_nll = sweep_host(s, rows, sizeof(double));
    want_lse = sweep_host(s, rows, sizeof(double));
    logits = sweep_host(s, rows * (size_t)vocab, sizeof(double));
    ref_head(want_nll, want_lse, logits, in, weight, target, T, d, vocab);
    targets = sweep_upload(s, target, rows * 4);
    nll = sweep_span(s, rows * 4);
    lse = sweep_span(s, rows * 4);
    best = sweep_span(s, rows * 4);
    if (size > 0)
        scratch = sweep_span(s, size);
    if (sweep_ok(s, s->ops->head(s->b, nll, lse, best, x, w, targets, T, d, vocab, scratch),
                 "head")) {
        sweep_expect(s, "head nll", sweep_read(s, nll, rows * 4), want_nll, rows, TOL_SOFTMAX,
                     SWEEP_F32);
        sweep_expect(s, "head lse", sweep_read(s, lse, rows * 4), want_lse, rows, TOL_SOFTMAX,
                     SWEEP_F32);
        got = sweep_read(s, best, rows * 4);
        for (int t = 0; t < T; t++) {
            const double *row = logits + (size_t)t * (size_t)vocab;
            double max = row[0];

            for (int v = 1; v < vocab; v++)
                max = fmax(max, row[v]);
            sweep_check(s, got[t] >= 0 && got[t] < MAX(1, vocab - 1) && row[got[t]] >= max - 1e-4,
                        "head best: token %d has %d", t, got[t]);
        }
    }
    sweep_end(s);
}

/* Does the side have the bytes that head() gives? */
static void expect_as_head(struct sweep *s, const struct head_side *side, struct span targets,
                           int T, int d, int vocab) {
    size_t n = (size_t)T * 4, size = s->ops->head_scratch(s->b, T, d, vocab);
    struct span nll = sweep_span(s, n), lse = sweep_span(s, n), best = sweep_span(s, n);
    struct span scratch = sweep_span(s, size);

    if (!sweep_ok(
            s, s->ops->head(s->b, nll, lse, best, side->x, side->w, targets, T, d, vocab, scratch),
            "head"))
        return;
    sweep_check(s, memcmp(sweep_read(s, nll, n), sweep_read(s, side->nll, n), n) == 0,
                "head_difference: nll is not that of head");
    sweep_check(s, memcmp(sweep_read(s, best, n), sweep_read(s, side->best, n), n) == 0,
                "head_difference: best is not that of head");
}

static struct head_side random_side(struct sweep *s, int T, int d, int vocab, float **ret_x,
                                    float **ret_w) {
    struct head_side side = {.nll = sweep_span(s, (size_t)T * 4),
                             .best = sweep_span(s, (size_t)T * 4)};

    *ret_x = sweep_random_act(s, (size_t)T * (size_t)d, 1, &side.x);
    *ret_w = sweep_random_act(s, (size_t)vocab * (size_t)d, 1, &side.w);
    return side;
}

/* kl [T] of two heads on the same targets, by plain sums. */
static double *wanted_divergence(struct sweep *s, float *const x[2], float *const w[2],
                                 const int32_t *targets, int T, int d, int vocab) {
    size_t rows = (size_t)T, n = rows * (size_t)vocab;
    double *nll = sweep_host(s, rows, sizeof(*nll)), *kl = sweep_host(s, rows, sizeof(*kl));
    double *lse[2], *logits[2];

    for (int i = 0; i < 2; i++) {
        lse[i] = sweep_host(s, rows, sizeof(double));
        logits[i] = sweep_host(s, n, sizeof(double));
        ref_head(nll, lse[i], logits[i], x[i], w[i], targets, T, d, vocab);
    }
    for (size_t i = 0; i < n; i++) {
        size_t t = i / (size_t)vocab;
        double p = logits[0][i] - lse[0][t], q = logits[1][i] - lse[1][t];

        kl[t] += exp(p) * (p - q);
    }
    return kl;
}

static void difference_case(struct sweep *s, int T, int d, int vocab) {
    size_t rows = (size_t)T;
    struct span targets, kl, scratch;
    struct head_side base, other;
    float *x[2], *w[2], *got;
    int32_t *target;
    double *want;

    sweep_begin(s);
    base = random_side(s, T, d, vocab, &x[0], &w[0]);
    other = random_side(s, T, d, vocab, &x[1], &w[1]);
    target = sweep_host(s, rows, sizeof(*target));
    for (int t = 0; t < T; t++)
        target[t] = t == 0 ? vocab - 1 : (int32_t)sweep_below(s, (uint32_t)vocab);
    targets = sweep_upload(s, target, rows * 4);
    kl = sweep_span(s, rows * 4);
    scratch = sweep_span(s, s->ops->head_difference_scratch(s->b, T, d, vocab));
    want = wanted_divergence(s, x, w, target, T, d, vocab);
    if (sweep_ok(s, s->ops->head_difference(s->b, kl, &base, &other, targets, T, d, vocab, scratch),
                 "head_difference")) {
        sweep_expect(s, "head_difference", sweep_read(s, kl, rows * 4), want, rows, TOL_SOFTMAX,
                     SWEEP_F32);
        expect_as_head(s, &base, targets, T, d, vocab);
        expect_as_head(s, &other, targets, T, d, vocab);
    }
    other.x = base.x;
    other.w = base.w;
    if (sweep_ok(s, s->ops->head_difference(s->b, kl, &base, &other, targets, T, d, vocab, scratch),
                 "head_difference")) {
        got = sweep_read(s, kl, rows * 4);
        for (size_t t = 0; t < rows; t++)
            sweep_check(s, got[t] == 0, "head_difference: a head is %g from itself",
                        (double)got[t]);
    }
    sweep_end(s);
}

void sweep_forward(struct sweep *s) {
    static const int sizes[] = {1, 3, 31, 127, 128, 129, 257};
    static const int lengths[] = {1, 63, 64, 65, 127, 128, 129, 200, 385};

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        int n = sizes[i];

        embed_case(s, n, 33, 17);
        rmsnorm_case(s, n, 65, 0, false);
        rmsnorm_case(s, 17, n, 7, i % 2 == 0);
        clamp_case(s, (size_t)n);
        swiglu_case(s, n, 33);
        swiglu_case(s, 3, n);
        attention_case(s, 2, n, 2, 1, 16);
        rope_case(s, 2, n, 3, 8, 5);
        head_case(s, n, 24, 1025);
        difference_case(s, n, 24, 1025);
        for (size_t j = 0; j < ARRAY_SIZE(sizes); j++)
            linear_case(s, n, 63 + (int)j, sizes[j], (i + j) % 2 == 0);
    }
    clamp_case(s, 65537);
    linear_case(s, 33, 2048, 513, false);
    linear_case(s, 1, 2048, 129, true);
    for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
        attention_case(s, 3, lengths[i], 4, 1, 128);
        attention_case(s, 2, lengths[i], 3, 3, 64);
    }
    attention_case(s, 40, 130, 4, 2, 128); /* more tasks than multiprocessors */
    attention_case(s, 3, 7, 6, 2, 10);
    head_case(s, 2, 64, 1);
    head_case(s, 5, 64, 1024);
    head_case(s, 3, 64, 2049);
    difference_case(s, 2, 64, 2);
    difference_case(s, 5, 64, 1024);
    difference_case(s, 3, 64, 5000);
}
