// SPDX-License-Identifier: Apache-2.0
/* Ops without a sum: embedding rows, clamp, rotary embedding, SwiGLU. */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vector.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define ROWS 16
#define CHUNK ((size_t)1 << 16) /* elements of a task */

struct rows {
    float *y;
    const float *x;
    const int32_t *index;
    size_t n_rows, n;
};

static void copy_rows(const void *arg, size_t task, int worker) {
    const struct rows *op = arg;
    size_t end = MIN(op->n_rows, (task + 1) * ROWS);

    (void)worker;
    for (size_t i = task * ROWS; i < end; i++)
        memcpy(op->y + i * op->n, op->x + (size_t)op->index[i] * op->n, op->n * sizeof(float));
}

int cpu_embed(struct backend *b, struct span x, struct span table, struct span ids, int T, int d,
              int vocab) {
    struct cpu *c = cpu_of(b);
    struct rows op = {(float *)x.at, (float *)table.at, (int32_t *)ids.at, (size_t)T, (size_t)d};
    int r = cpu_check(c, "embed", OPERAND(x, float, T, d), OPERAND(table, float, vocab, d),
                      OPERAND(ids, int32_t, T));

    if (r == 0)
        r = cpu_check_indices(c, "embed", "ids", op.index, op.n_rows, vocab);
    if (r < 0)
        return r;
    return cpu_run(c, n_tiles(op.n_rows, ROWS), 0, copy_rows, &op);
}

int cpu_gather(struct backend *b, struct span y, struct span x, struct span order, int S, int T,
               int n) {
    struct cpu *c = cpu_of(b);
    struct rows op = {(float *)y.at, (float *)x.at, (int32_t *)order.at, (size_t)S, (size_t)n};
    int r = cpu_check(c, "gather", OPERAND(y, float, S, n), OPERAND(x, float, T, n),
                      OPERAND(order, int32_t, S));

    if (r == 0)
        r = cpu_check_indices(c, "gather", "order", op.index, op.n_rows, T);
    if (r < 0)
        return r;
    return cpu_run(c, n_tiles(op.n_rows, ROWS), 0, copy_rows, &op);
}

struct clamp {
    float *x;
    size_t n;
    float limit;
};

static void clamp_chunk(const void *arg, size_t task, int worker) {
    const struct clamp *op = arg;
    float *x = op->x + task * CHUNK, limit = op->limit;
    size_t n = MIN(CHUNK, op->n - task * CHUNK);

    (void)worker;
    for (size_t i = 0; i < n; i++) {
        float v = x[i] < -limit ? -limit : x[i];

        x[i] = v > limit ? limit : v;
    }
}

int cpu_clamp(struct backend *b, struct span x, size_t n, float limit) {
    struct cpu *c = cpu_of(b);
    struct clamp op = {(float *)x.at, n, limit};
    int r;

    if (n > INT64_MAX)
        return cpu_refuse(c, "clamp", "n fits", INT64_MAX);
    r = cpu_check(c, "clamp", OPERAND(x, float, (int64_t)n));
    return r < 0 ? r : cpu_run(c, n_tiles(n, CHUNK), 0, clamp_chunk, &op);
}

struct rope {
    float *x;
    size_t ldx, T, seqlen, n_heads, head_dim;
    float theta;
};

/* A few positions of every window: their angles are computed once. */
#define POSITIONS 8

static void rotate_row(const struct rope *op, float *x, const float *cosines, const float *sines) {
    size_t half = op->head_dim / 2;

    for (size_t h = 0; h < op->n_heads; h++) {
        float *a = x + h * op->head_dim, *z = a + half;

        for (size_t i = 0; i < half; i++) {
            float a0 = a[i], z0 = z[i];

            a[i] = a0 * cosines[i] - z0 * sines[i];
            z[i] = z0 * cosines[i] + a0 * sines[i];
        }
    }
}

struct rope_run {
    struct cpu *c;
    struct rope rope;
};

static void rope_positions(const void *arg, size_t task, int worker) {
    const struct rope_run *run = arg;
    const struct rope *op = &run->rope;
    size_t half = op->head_dim / 2, end = MIN(op->seqlen, (task + 1) * POSITIONS);
    float *cosines = cpu_scratch(run->c, worker), *sines = cosines + half;
    float *frequencies = sines + half;

    /* in f32 step by step, as the reference computes its angles */
    for (size_t i = 0; i < half; i++)
        frequencies[i] = 1.0f / powf(op->theta, (float)(2 * i) / (float)op->head_dim);
    for (size_t position = task * POSITIONS; position < end; position++) {
        for (size_t i = 0; i < half; i++) {
            float angle = (float)position * frequencies[i];

            cosines[i] = cosf(angle);
            sines[i] = sinf(angle);
        }
        for (size_t t = position; t < op->T; t += op->seqlen)
            rotate_row(op, op->x + t * op->ldx, cosines, sines);
    }
}

int cpu_rope(struct backend *b, struct span x, int ldx, int T, int seqlen, int n_heads,
             int head_dim, float theta) {
    struct cpu *c = cpu_of(b);
    struct rope_run op = {c,
                          {(float *)x.at, (size_t)ldx, (size_t)T, (size_t)seqlen, (size_t)n_heads,
                           (size_t)head_dim, theta}};
    int64_t n = (int64_t)n_heads * head_dim;
    int r;

    if (head_dim < 2 || head_dim % 2 != 0)
        return cpu_refuse(c, "rope", "head_dim is even", head_dim);
    if (T < 1 || seqlen < 1)
        return cpu_refuse(c, "rope", "T and seqlen > 0", MIN(T, seqlen));
    if (n_heads < 1 || ldx < n)
        return cpu_refuse(c, "rope", "ldx >= n_heads * head_dim > 0", ldx);
    r = cpu_check(c, "rope", OPERAND(x, float, (T - 1LL) * ldx + n));
    if (r < 0)
        return r;
    return cpu_run(c, n_tiles(MIN(op.rope.seqlen, op.rope.T), POSITIONS),
                   op.rope.head_dim / 2 * 3 * sizeof(float), rope_positions, &op);
}

struct swiglu {
    float *y;
    const float *gu;
    size_t S, n;
};

vector_clones static void swiglu_row(float *restrict y, const float *restrict g,
                                     const float *restrict u, size_t n) {
    for (size_t i = 0; i < n; i++)
        y[i] = g[i] / (1.0f + vector_exp(-g[i])) * u[i];
}

static void swiglu_rows(const void *arg, size_t task, int worker) {
    const struct swiglu *op = arg;
    size_t end = MIN(op->S, (task + 1) * ROWS);

    (void)worker;
    for (size_t s = task * ROWS; s < end; s++) {
        const float *g = op->gu + s * 2 * op->n;

        swiglu_row(op->y + s * op->n, g, g + op->n, op->n);
    }
}

int cpu_swiglu(struct backend *b, struct span y, struct span gu, int S, int n) {
    struct cpu *c = cpu_of(b);
    struct swiglu op = {(float *)y.at, (float *)gu.at, (size_t)S, (size_t)n};
    int r = cpu_check(c, "swiglu", OPERAND(y, float, S, n), OPERAND(gu, float, S, 2, n));

    return r < 0 ? r : cpu_run(c, n_tiles(op.S, ROWS), 0, swiglu_rows, &op);
}
