// SPDX-License-Identifier: Apache-2.0
#include "tests/kernels/sweep.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int sweep_run(struct sweep *s, const struct backend_ops *ops, struct backend *b) {
    *s = (struct sweep){.ops = ops, .b = b, .random = 20221031, .digest = sha256_new()};
    if (!s->digest)
        return 1;
    sweep_memory(s);
    sweep_forward(s);
    sweep_moe(s);
    sweep_hessian(s);
    sweep_quantize(s);
    sweep_refine(s);
    sweep_kgrid(s);
    sweep_layout(s);
    sweep_refusals(s);
    printf("%s: %d cases, %d failed\n", ops->name, s->n_cases, s->n_failed);
    return s->n_failed;
}

void sweep_begin(struct sweep *s) {
    s->n_cases++;
}

void sweep_end(struct sweep *s) {
    for (int i = 0; i < s->n_hosts; i++)
        free(s->hosts[i]);
    for (int i = 0; i < s->n_spans; i++)
        s->ops->free(s->b, &s->spans[i]);
    s->n_hosts = s->n_spans = 0;
}

static _Noreturn void give_up(const char *why) {
    fprintf(stderr, "the sweep cannot go on: %s\n", why);
    exit(EXIT_FAILURE);
}

void *sweep_host(struct sweep *s, size_t n, size_t size) {
    void *host = calloc(n, size);

    if (!host || s->n_hosts == SWEEP_MAX_ITEMS)
        give_up("no memory on the host");
    s->hosts[s->n_hosts++] = host;
    return host;
}

struct span sweep_span(struct sweep *s, size_t size) {
    unsigned char *junk = sweep_host(s, size, 1);

    memset(junk, 0xff, size);
    return sweep_upload(s, junk, size);
}

struct span sweep_upload(struct sweep *s, const void *data, size_t size) {
    struct span span;

    if (s->n_spans == SWEEP_MAX_ITEMS || s->ops->alloc(s->b, size, &span) < 0 ||
        s->ops->upload(s->b, span, data) < 0)
        give_up(s->ops->failure(s->b)->detail);
    s->spans[s->n_spans++] = span;
    return span;
}

void *sweep_read(struct sweep *s, struct span span, size_t size) {
    void *host = sweep_host(s, size, 1);

    if (s->ops->download(s->b, host, span_slice(span, 0, size)) < 0)
        give_up(s->ops->failure(s->b)->detail);
    sha256_update(s->digest, host, size);
    return host;
}

size_t sweep_act_size(const struct sweep *s, size_t n) {
    return n * dtype_size(s->ops->act);
}

struct span sweep_upload_act(struct sweep *s, const float *data, size_t n) {
    uint16_t *halves;

    if (s->ops->act == DTYPE_F32)
        return sweep_upload(s, data, n * sizeof(float));
    halves = sweep_host(s, n, sizeof(*halves));
    for (size_t i = 0; i < n; i++)
        halves[i] = f32_to_bf16(data[i]);
    return sweep_upload(s, halves, n * sizeof(*halves));
}

float *sweep_read_act(struct sweep *s, struct span span, size_t n) {
    void *raw = sweep_read(s, span, sweep_act_size(s, n));
    float *x = sweep_host(s, n, sizeof(*x));

    dtype_to_f32(x, raw, s->ops->act, n);
    return x;
}

/* splitmix64 (Steele, Lea, Flood 2014) */
static uint64_t next_random(struct sweep *s) {
    uint64_t z = s->random += 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

double sweep_uniform(struct sweep *s) {
    return (double)(next_random(s) >> 11) * 0x1p-53;
}

uint32_t sweep_below(struct sweep *s, uint32_t limit) {
    return (uint32_t)(next_random(s) % limit);
}

float *sweep_random_act(struct sweep *s, size_t n, float scale, struct span *ret_span) {
    float *x = sweep_host(s, n, sizeof(*x));

    for (size_t i = 0; i < n; i++) {
        x[i] = (float)(2 * sweep_uniform(s) - 1) * scale;
        if (s->ops->act == DTYPE_BF16)
            x[i] = bf16_to_f32(f32_to_bf16(x[i]));
    }
    *ret_span = sweep_upload_act(s, x, n);
    return x;
}

double *sweep_doubles(struct sweep *s, const float *x, size_t n) {
    double *d = sweep_host(s, n, sizeof(*d));

    for (size_t i = 0; x && i < n; i++)
        d[i] = (double)x[i];
    return d;
}

void sweep_expect(struct sweep *s, const char *what, const float *got, const double *want, size_t n,
                  double tol, enum sweep_type type) {
    double size = 0, worst = 0;

    if (type == SWEEP_ACT && s->ops->act == DTYPE_BF16)
        tol += 0x1p-8; /* half a unit in the last place of bf16, twice: sums are rounded too */
    for (size_t i = 0; i < n; i++)
        size = fmax(size, fabs(want[i]));
    for (size_t i = 0; i < n; i++) {
        double error = fabs((double)got[i] - want[i]);

        if (!(error <= worst)) /* a NaN is the worst */
            worst = error;
        if (isnan(worst))
            break;
    }
    sweep_check(s, worst <= tol * size, "%s: off by %g of %g, allowed %g", what, worst, size,
                tol * size);
}

void sweep_check(struct sweep *s, bool ok, const char *format, ...) {
    va_list args;

    if (ok)
        return;
    s->n_failed++;
    printf("FAIL %s: ", s->ops->name);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
}

bool sweep_ok(struct sweep *s, int r, const char *op) {
    if (r == 0)
        r = s->ops->sync(s->b);
    sweep_check(s, r == 0, "%s returned %d: %s", op, r, s->ops->failure(s->b)->detail);
    return r == 0;
}
