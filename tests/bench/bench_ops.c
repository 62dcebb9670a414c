// SPDX-License-Identifier: Apache-2.0
/*
 * Every op at the shapes of OLMoE-1B-7B, 16 windows of 2048 tokens: time, TFLOP/s or GB/s, and
 * the share of what the device reaches in the same run on a bf16 product of 8192^3 or on a copy;
 * and what a call costs the host until it returns.
 * "fresh counts": every call gives each expert another count of tokens, as every batch does.
 *
 * usage: bench_ops [DEVICE [N_WINDOWS]]
 */
#include "base/clock.h"
#include "kernels/registry.h"
#include "kernels/start.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define EXIT_SKIP 77

enum { D = 2048, I = 1024, E = 64, K = 8, HEADS = 16, HD = 128, VOCAB = 50304, SEQLEN = 2048 };

struct bench {
    const struct backend_ops *ops;
    struct backend *b;
    double flops_ceiling, bytes_ceiling; /* per second */
    size_t act;                          /* bytes */
    int n_windows, T, S;
    unsigned char *noise; /* host, NOISE bytes of act in [-1, 1) */
    uint64_t random;
};

#define NOISE ((size_t)64 << 20)

static void check(struct bench *m, int r, const char *what) {
    if (r == 0)
        return;
    fprintf(stderr, "%s failed: %s\n", what, m->ops->failure(m->b)->detail);
    exit(EXIT_FAILURE);
}

static struct span take(struct bench *m, size_t size) {
    struct span span;

    check(m, m->ops->alloc(m->b, size, &span), "alloc");
    return span;
}

/* @n random values of act, each at most @scale; repeats after NOISE bytes. */
static struct span take_noise(struct bench *m, size_t n) {
    struct span span = take(m, n * m->act);

    for (size_t at = 0; at < span.size; at += NOISE)
        check(m,
              m->ops->upload(m->b,
                             span_slice(span, at, span.size - at < NOISE ? span.size - at : NOISE),
                             m->noise),
              "upload");
    check(m, m->ops->sync(m->b), "sync");
    return span;
}

static uint64_t next_random(struct bench *m) {
    m->random ^= m->random << 13;
    m->random ^= m->random >> 7;
    return m->random ^= m->random << 17;
}

static void make_noise(struct bench *m) {
    m->noise = malloc(NOISE);
    if (!m->noise)
        exit(EXIT_FAILURE);
    for (size_t i = 0; i < NOISE / m->act; i++) {
        float f = (float)(next_random(m) >> 40) * 0x1p-23f - 1;

        if (m->act == sizeof(float))
            ((float *)m->noise)[i] = f;
        else
            ((uint16_t *)m->noise)[i] = f32_to_bf16(f);
    }
}

static void report(struct bench *m, const char *name, double seconds, double host, double flops,
                   double bytes) {
    double by_flops = m->flops_ceiling > 0 ? flops / m->flops_ceiling : 0;
    double by_bytes = m->bytes_ceiling > 0 ? bytes / m->bytes_ceiling : 0;

    printf("%-28s %9.3f ms", name, seconds * 1e3);
    if (flops > 0)
        printf(" %8.1f TFLOP/s", flops / seconds * 1e-12);
    else
        printf(" %8.0f GB/s   ", bytes / seconds * 1e-9);
    if (by_flops + by_bytes > 0)
        printf("  %5.1f %%", 100 * (by_flops > by_bytes ? by_flops : by_bytes) / seconds);
    printf("  host %7.3f ms\n", host * 1e3);
    fflush(stdout);
}

/* Runs @call once to warm up, then for at least 30 ms, and reports the mean. */
#define MEASURE(m, name, flops, bytes, call)                                                       \
    do {                                                                                           \
        double start_, now_, host_ = 0;                                                            \
        int times_ = 0;                                                                            \
                                                                                                   \
        check(m, call, name);                                                                      \
        check(m, (m)->ops->sync((m)->b), name);                                                    \
        start_ = clock_monotonic();                                                                \
        do {                                                                                       \
            now_ = clock_monotonic();                                                              \
            for (int i_ = 0; i_ < 4; i_++, times_++)                                               \
                check(m, call, name);                                                              \
            host_ += clock_monotonic() - now_;                                                     \
            check(m, (m)->ops->sync((m)->b), name);                                                \
            now_ = clock_monotonic();                                                              \
        } while (now_ - start_ < 0.03);                                                            \
        last_seconds = (now_ - start_) / times_;                                                   \
        report(m, name, last_seconds, host_ / times_, flops, bytes);                               \
    } while (0)

static double last_seconds;

static void bench_ceilings(struct bench *m) {
    size_t n = 8192, big = (size_t)4 << 30;
    struct span x = take_noise(m, n * n), w = take_noise(m, n * n), y = take(m, n * n * m->act);
    struct span from = take_noise(m, big / m->act), to = take(m, big);

    MEASURE(m, "gemm 8192^3", 2.0 * 8192 * 8192 * 8192, 0,
            m->ops->linear(m->b, y, x, w, 8192, 8192, 8192, false));
    m->flops_ceiling = 2.0 * 8192 * 8192 * 8192 / last_seconds;
    MEASURE(m, "copy 4 GiB", 0, 2.0 * (double)big, m->ops->copy(m->b, to, from));
    m->bytes_ceiling = 2.0 * (double)big / last_seconds;
    m->ops->free(m->b, &x);
    m->ops->free(m->b, &w);
    m->ops->free(m->b, &y);
    m->ops->free(m->b, &from);
    m->ops->free(m->b, &to);
}

static void bench_attention(struct bench *m) {
    size_t T = (size_t)m->T;
    double t = m->T, scores = (double)m->n_windows * SEQLEN * SEQLEN / 2 * HEADS;
    struct span x = take_noise(m, T * D), y = take(m, T * D * m->act);
    struct span qkv = take_noise(m, T * 3 * D), w = take_noise(m, (size_t)3 * D * D);

    MEASURE(m, "rmsnorm", 0, t * D * 4, m->ops->rmsnorm(m->b, y, D, x, D, w, m->T, D, 1e-5f));
    MEASURE(m, "linear qkv", t * D * D * 6, 0,
            m->ops->linear(m->b, qkv, x, w, m->T, D, 3 * D, false));
    MEASURE(m, "rmsnorm of q in qkv", 0, t * D * 4,
            m->ops->rmsnorm(m->b, qkv, 3 * D, qkv, 3 * D, w, m->T, D, 1e-5f));
    MEASURE(m, "rope", 0, t * D * 8,
            m->ops->rope(m->b, qkv, 3 * D, m->T, SEQLEN, 2 * HEADS, HD, 1e4f));
    MEASURE(m, "attention, head_dim 128", scores * HD * 4, 0,
            m->ops->attention(m->b, y, qkv, m->n_windows, SEQLEN, HEADS, HEADS, HD));
    MEASURE(m, "attention, head_dim 64", scores * HD * 4, 0,
            m->ops->attention(m->b, y, qkv, m->n_windows, SEQLEN, HEADS * 2, HEADS * 2, HD / 2));
    MEASURE(m, "linear o, added", t * D * D * 2, 0,
            m->ops->linear(m->b, x, y, w, m->T, D, D, true));
    m->ops->free(m->b, &x);
    m->ops->free(m->b, &y);
    m->ops->free(m->b, &qkv);
    m->ops->free(m->b, &w);
}

struct experts {
    struct span x, experts, weights, order, position, xs, gu, mid;
    int32_t offsets[E + 1];
};

/* A thousandth of the tokens to each expert, the rest in shares of a factor of up to eight. */
static const int32_t *fresh_counts(struct bench *m) {
    static int32_t offsets[E + 1];
    double shares[E], sum = 0, rest = m->S - E * (m->S / 1000);

    for (int i = 0; i < E; i++)
        sum += shares[i] = 1 + (double)(next_random(m) % 7000) / 1000;
    for (int i = 0; i < E; i++)
        offsets[i + 1] = offsets[i] + m->S / 1000 + (int32_t)(shares[i] / sum * rest);
    offsets[E] = m->S;
    return offsets;
}

static void bench_experts(struct bench *m, struct experts *e) {
    double s = m->S, t = m->T;
    size_t S = (size_t)m->S, T = (size_t)m->T;
    struct span router = take_noise(m, (size_t)E * D), w = take_noise(m, (size_t)E * 2 * I * D);

    e->x = take_noise(m, T * D);
    e->experts = take(m, S * 4);
    e->weights = take(m, S * 4);
    e->order = take(m, S * 4);
    e->position = take(m, S * 4);
    e->xs = take(m, S * D * m->act);
    e->gu = take(m, S * 2 * I * m->act);
    e->mid = take(m, S * I * m->act);
    MEASURE(m, "route", 0, t * D * 2,
            m->ops->route(m->b, e->experts, e->weights, e->x, router, m->T, D, E, K, false));
    MEASURE(m, "dispatch", 0, s * 16,
            m->ops->dispatch(m->b, e->order, e->position, e->offsets, e->experts, m->T, E, K));
    MEASURE(m, "gather", 0, s * D * 4, m->ops->gather(m->b, e->xs, e->x, e->order, m->S, m->T, D));
    MEASURE(m, "expert_linear gate up", s * D * I * 4, 0,
            m->ops->expert_linear(m->b, e->gu, e->xs, w, e->offsets, E, D, 2 * I));
    MEASURE(m, "  fresh counts", s * D * I * 4, 0,
            m->ops->expert_linear(m->b, e->gu, e->xs, w, fresh_counts(m), E, D, 2 * I));
    MEASURE(m, "swiglu", 0, s * I * 6, m->ops->swiglu(m->b, e->mid, e->gu, m->S, I));
    MEASURE(m, "expert_swiglu, fresh counts", s * D * I * 4, 0,
            m->ops->expert_swiglu(m->b, e->mid, e->x, e->order, w, fresh_counts(m), E, m->T, D, I,
                                  e->xs, e->gu));
    MEASURE(m, "expert_linear down", s * D * I * 2, 0,
            m->ops->expert_linear(m->b, e->gu, e->mid, w, e->offsets, E, I, D));
    MEASURE(m, "  fresh counts", s * D * I * 2, 0,
            m->ops->expert_linear(m->b, e->gu, e->mid, w, fresh_counts(m), E, I, D));
    MEASURE(m, "combine", 0, s * D * 2 + t * D * 4,
            m->ops->combine(m->b, e->x, e->gu, e->position, e->weights, m->T, D, K));
    check(m, m->ops->swiglu(m->b, e->mid, e->xs, m->S, I), "swiglu");
    m->ops->free(m->b, &router);
    m->ops->free(m->b, &w);
}

static void bench_head(struct bench *m) {
    size_t T = (size_t)m->T;
    struct span x = take_noise(m, T * D), w = take_noise(m, (size_t)VOCAB * D);
    struct span nll = take(m, T * 4), lse = take(m, T * 4), best = take(m, T * 4);
    struct span targets = take(m, T * 4);
    struct span scratch = take(m, m->ops->head_scratch(m->b, m->T, D, VOCAB));

    check(m, m->ops->zero(m->b, targets), "zero");
    MEASURE(m, "embed", 0, (double)m->T * D * 4,
            m->ops->embed(m->b, x, w, targets, m->T, D, VOCAB));
    x = take_noise(m, T * D);
    MEASURE(m, "head", 2.0 * m->T * D * VOCAB, 0,
            m->ops->head(m->b, nll, lse, best, x, w, targets, m->T, D, VOCAB, scratch));
    m->ops->free(m->b, &w);
}

static const struct {
    const char *what;
    struct grid grid;
    bool static_groups, drift;
} variants[] = {
    {"gptq", {4, 128, false, GRID_MINMAX}, false, false},
    {"gptq, static groups", {4, 128, false, GRID_MINMAX}, true, false},
    {"gptq, drift", {4, 128, false, GRID_MINMAX}, false, true},
    {"gptq, mse", {4, 128, false, GRID_MSE}, false, false},
    {"gptq, hessian", {4, 128, false, GRID_HESSIAN}, false, false},
    {"gptq, mse, static groups", {4, 128, false, GRID_MSE}, true, false},
    {"gptq, hessian, static groups", {4, 128, false, GRID_HESSIAN}, true, false},
};

/* Refinement of what gptq() made; @u is no factor any more. */
static void bench_refine(struct bench *m, const struct refinement *like, struct span d, int G,
                         int rows, int n) {
    double flops = (double)G * rows * n * n;
    struct refinement r = *like;
    struct span scratch = take(m, m->ops->refine_scratch(m->b, &r, G, rows, n));

    r.sweeps = 1;
    r.rounds = 1;
    MEASURE(m, "refine, 1 sweep, 1 round", flops * 2 * 4, 0,
            m->ops->refine(m->b, &r, G, rows, n, scratch));
    r.sweeps = 2;
    MEASURE(m, "refine, 2 sweeps, 1 round", flops * 2 * 5, 0,
            m->ops->refine(m->b, &r, G, rows, n, scratch));
    r.sweeps = 3;
    r.rounds = 2;
    MEASURE(m, "refine 3", flops * 2 * 11, 0, m->ops->refine(m->b, &r, G, rows, n, scratch));
    r.d = d;
    MEASURE(m, "refine 3, drift", flops * 2 * 12, 0, m->ops->refine(m->b, &r, G, rows, n, scratch));
    m->ops->free(m->b, &scratch);
}

/* Solver of G matrices [rows, n] that share a Hessian by G. */
static void bench_solver(struct bench *m, const char *what, struct span x, const int32_t *offsets,
                         int G, int rows, int n) {
    size_t size = (size_t)G * (size_t)n * (size_t)n * 4,
           weights = (size_t)G * (size_t)rows * (size_t)n;
    double s = offsets[G], g = G, nn = (double)n * n;
    struct span h = take(m, size), u = take(m, size), perm = take(m, (size_t)G * (size_t)n * 4);
    struct span w = take_noise(m, weights), dq = take(m, weights * m->act);
    struct span num = take(m, (size_t)G * (size_t)rows * 4), den = take(m, num.size);
    struct quantized q = {take(m, weights), take(m, weights / 64), take(m, weights / 128),
                          take(m, (size_t)G * (size_t)n * 4)};
    struct grid grid = {4, 128, false, GRID_MINMAX};
    size_t need = m->ops->factor_scratch(m->b, G, n);
    size_t more = m->ops->gptq_scratch(m->b, G, rows, n, true);
    struct span d = take(m, size), p = take(m, size), none = {}, scratch;
    float damp[E], condition[E];
    int32_t info[E];

    printf("-- %s: %d x [%d, %d]\n", what, G, rows, n);
    need = need > more ? need : more;
    more = m->ops->drift_scratch(m->b, G, n);
    need = need > more ? need : more;
    more = m->ops->output_error_scratch(m->b, G, rows, n);
    scratch = take(m, need > more ? need : more);
    for (int i = 0; i < G; i++)
        damp[i] = 0.01f;
    check(m, m->ops->zero(m->b, h), "zero");
    MEASURE(m, "hessian_add", 2 * s * nn, 0, m->ops->hessian_add(m->b, h, x, offsets, G, n));
    if (G == E)
        MEASURE(m, "  fresh counts", 2 * s * nn, 0,
                m->ops->hessian_add(m->b, h, x, fresh_counts(m), G, n));
    check(m, m->ops->zero(m->b, d), "zero");
    MEASURE(m, "cross_add", 2 * s * nn, 0, m->ops->cross_add(m->b, d, x, x, offsets, G, n));
    MEASURE(m, "hessian_order", 0, g * n * 8, m->ops->hessian_order(m->b, perm, h, G, n, true));
    MEASURE(m, "factor", g * nn * n * 2 / 3, 0,
            m->ops->factor(m->b, u, h, perm, damp, info, condition, G, n, scratch));
    for (int i = 0; i < G; i++)
        if (info[i])
            printf("matrix %d: info %d\n", i, info[i]);
    MEASURE(m, "drift_correction", g * nn * n, 0,
            m->ops->drift_correction(m->b, p, d, u, perm, 0.5f, G, n, scratch));
    for (size_t i = 0; i < ARRAY_SIZE(variants); i++)
        MEASURE(m, variants[i].what, g * rows * nn * (variants[i].drift ? 2 : 1), 0,
                m->ops->gptq(m->b, &q, dq, w, u, perm, variants[i].drift ? p : none, h,
                             &variants[i].grid, variants[i].static_groups, G, rows, n, scratch));
    bench_refine(m, &(struct refinement){q, dq, w, h, none, perm, u, num, den, damp, 4, 128}, d, G,
                 rows, n);
    MEASURE(m, "output_error", g * rows * nn * 4, 0,
            m->ops->output_error(m->b, num, den, w, dq, h, G, rows, n, scratch));
    MEASURE(m, "rtn", 0, (double)weights * 5, m->ops->rtn(m->b, &q, dq, w, &grid, G, rows, n));
    MEASURE(m, "dequantize", 0, (double)weights * 3,
            m->ops->dequantize(m->b, dq, &q, n / 128, G, rows, n));
    MEASURE(m, "pack", 0, (double)weights * 1.5,
            m->ops->pack(m->b, scratch, q.codes, 4, G, rows, n));
    MEASURE(m, "unpack", 0, (double)weights * 1.5,
            m->ops->unpack(m->b, q.codes, scratch, 4, G, rows, n));
    for (struct span *all[] = {&h, &d, &p, &u, &perm, &w, &dq, &num, &den, &q.codes, &q.scales,
                               &q.zeros, &q.g_idx, &scratch, NULL},
                     **one = all;
         *one; one++)
        m->ops->free(m->b, *one);
}

static int stage_all(struct bench *m, struct span dst, const void *src, enum dtype dtype,
                     size_t n) {
    int r = m->ops->stage(m->b, dst, src, dtype, n);

    return r ? r : m->ops->stage_wait(m->b);
}

static int fetch_all(struct bench *m, void *dst, struct span src) {
    int r = m->ops->fetch(m->b, dst, src);

    return r ? r : m->ops->fetch_wait(m->b);
}

/* The experts of a layer, as they lie in a file: mapped anew each time when @fd is one. */
static int stage_experts(struct bench *m, struct span dst, const unsigned char *host, int fd) {
    size_t one = (size_t)D * I * 2;
    const unsigned char *from = host;
    int r = 0;

    if (fd >= 0)
        from = mmap(NULL, one * E * 3, PROT_READ, MAP_PRIVATE, fd, 0);
    if (from == MAP_FAILED)
        exit(EXIT_FAILURE);
    for (size_t i = 0; i < E * 3 && !r; i++)
        r = m->ops->stage(m->b, span_slice(dst, i * D * I * m->act, D * I * m->act), from + i * one,
                          DTYPE_BF16, (size_t)D * I);
    if (!r)
        r = m->ops->stage_wait(m->b);
    if (fd >= 0)
        munmap((void *)from, one * E * 3);
    return r;
}

static void bench_layer(struct bench *m, const unsigned char *host) {
    size_t size = (size_t)D * I * 2 * E * 3;
    struct span dst = take(m, size / 2 * m->act);
    FILE *file = tmpfile();

    MEASURE(m, "stage 192 x 4 MiB", 0, (double)size, stage_experts(m, dst, host, -1));
    if (!file || fwrite(host, 1, size, file) != size || fflush(file))
        exit(EXIT_FAILURE);
    MEASURE(m, "  of a file mapped anew", 0, (double)size,
            stage_experts(m, dst, NULL, fileno(file)));
    fclose(file);
    m->ops->free(m->b, &dst);
}

static void bench_streaming(struct bench *m) {
    size_t n = (size_t)256 << 20;
    struct span dst = take(m, n * m->act);
    float *host = calloc(n, sizeof(*host));

    if (!host)
        exit(EXIT_FAILURE);
    memset(host, 1, n * sizeof(*host));
    MEASURE(m, "stage bf16", 0, (double)n * 2, stage_all(m, dst, host, DTYPE_BF16, n));
    MEASURE(m, "stage f32", 0, (double)n * 4, stage_all(m, dst, host, DTYPE_F32, n));
    bench_layer(m, (const unsigned char *)host);
    MEASURE(m, "fetch", 0, (double)n * 2, fetch_all(m, host, span_slice(dst, 0, n * 2)));
    free(host);
    m->ops->free(m->b, &dst);
}

int main(int argc, char **argv) {
    struct bench m = {.n_windows = argc > 2 ? atoi(argv[2]) : 16, .random = 88172645463325252};
    struct failure failure;
    struct backend_info info;
    struct experts e = {};
    int32_t all[2] = {0};
    int n = 0;

    kernels_run_test(argc, argv);
    kernels_choose(argv);
    backend_count("cuda", &n);
    if (argc < 2 && n == 0) {
        puts("skipped: no CUDA device; name a device to measure it");
        return EXIT_SKIP;
    }
    if (backend_open(argc > 1 ? argv[1] : "cuda:0", &m.b, &failure) < 0) {
        fprintf(stderr, "%s\n%s\n", failure.detail, failure.hint);
        return EXIT_FAILURE;
    }
    m.ops = m.b->ops;
    m.act = dtype_size(m.ops->act);
    m.T = all[1] = m.n_windows * SEQLEN;
    m.S = m.T * K;
    make_noise(&m);
    bench_ceilings(&m);
    bench_attention(&m);
    bench_experts(&m, &e);
    bench_head(&m);
    bench_solver(&m, "gate and up of all experts", e.xs, e.offsets, E, 2 * I, D);
    bench_solver(&m, "down of all experts", e.mid, e.offsets, E, D, I);
    bench_solver(&m, "q, k and v", e.xs, all, 1, 3 * D, D);
    bench_solver(&m, "o", e.xs, all, 1, D, D);
    bench_streaming(&m);
    m.ops->info(m.b, &info);
    printf("%s: peak %zu MiB\n", info.name, info.memory_peak >> 20);
    m.ops->close(m.b);
    free(m.noise);
    return EXIT_SUCCESS;
}
