// SPDX-License-Identifier: Apache-2.0
/* Mixture of experts: the router, the sort of slots by expert, the weighted sum of the outputs. */
#include "kernels/cpu/cpu.h"

#include <cblas.h>
#include <errno.h>
#include <math.h>
#include <string.h>

#define ROUTE_ROWS 64
#define COMBINE_ROWS 16
#define COMBINE_COLUMNS 256 /* a sum that stays in the first cache */

struct route {
    struct cpu *c;
    int32_t *experts;
    float *weights;
    const float *x, *w;
    int T, d, n_experts, top_k;
    bool norm;
};

static void softmax(float *p, int n) {
    float max = p[0], sum = 0;

    for (int i = 1; i < n; i++)
        max = p[i] > max ? p[i] : max;
    for (int i = 0; i < n; i++) {
        p[i] = expf(p[i] - max);
        sum += p[i];
    }
    for (int i = 0; i < n; i++)
        p[i] /= sum;
}

/* Marks the top_k largest of p in @chosen. A NaN is never larger, so k are always found. */
static void choose(const float *p, unsigned char *chosen, int n, int top_k) {
    memset(chosen, 0, (size_t)n);
    for (int k = 0; k < top_k; k++) {
        int best = -1;

        for (int e = 0; e < n; e++) {
            if (!chosen[e] && (best < 0 || p[e] > p[best]))
                best = e;
        }
        chosen[best] = 1;
    }
}

static void write_choice(const struct route *op, size_t t, const float *p,
                         const unsigned char *chosen) {
    int32_t *experts = op->experts + t * (size_t)op->top_k;
    float *weights = op->weights + t * (size_t)op->top_k, sum = 0;
    int n = 0;

    for (int e = 0; e < op->n_experts; e++) {
        if (!chosen[e])
            continue;
        experts[n] = e;
        weights[n++] = p[e];
        sum += p[e];
    }
    for (int j = 0; op->norm && j < n; j++)
        weights[j] /= sum;
}

static void route_rows(const void *arg, size_t task, int worker) {
    const struct route *op = arg;
    int first = (int)(task * ROUTE_ROWS), rows = MIN(ROUTE_ROWS, op->T - first);
    float *logits = cpu_scratch(op->c, worker);
    unsigned char *chosen = (unsigned char *)(logits + ROUTE_ROWS * (size_t)op->n_experts);

    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, op->n_experts, op->d, 1.0f,
                op->x + (size_t)first * (size_t)op->d, op->d, op->w, op->d, 0, logits,
                op->n_experts);
    for (int i = 0; i < rows; i++) {
        float *p = logits + (size_t)i * (size_t)op->n_experts;

        softmax(p, op->n_experts);
        choose(p, chosen, op->n_experts, op->top_k);
        write_choice(op, (size_t)(first + i), p, chosen);
    }
}

int cpu_route(struct backend *b, struct span experts, struct span weights, struct span x,
              struct span w, int T, int d, int n_experts, int top_k, bool norm) {
    struct cpu *c = cpu_of(b);
    struct route op = {c,
                       (int32_t *)experts.at,
                       (float *)weights.at,
                       (float *)x.at,
                       (float *)w.at,
                       T,
                       d,
                       n_experts,
                       top_k,
                       norm};
    int r = cpu_check(c, "route", OPERAND(experts, int32_t, T, top_k),
                      OPERAND(weights, float, T, top_k), OPERAND(x, float, T, d),
                      OPERAND(w, float, n_experts, d));

    if (r < 0)
        return r;
    if (top_k > n_experts)
        return cpu_refuse(c, "route", "top_k <= n_experts", top_k);
    return cpu_run(c, n_tiles((size_t)T, ROUTE_ROWS),
                   ((size_t)ROUTE_ROWS * sizeof(float) + 1) * (size_t)n_experts, route_rows, &op);
}

/* A counting sort: one pass to count, one to place; the second keeps the order of tokens. */
int cpu_dispatch(struct backend *b, struct span order, struct span position, int32_t *offsets,
                 struct span experts, int T, int n_experts, int top_k) {
    struct cpu *c = cpu_of(b);
    int64_t S = (int64_t)T * top_k;
    const int32_t *expert = (int32_t *)experts.at;
    int32_t *slot_of = (int32_t *)position.at, *token_of = (int32_t *)order.at;
    int r = cpu_check(c, "dispatch", OPERAND(order, int32_t, S),
                      OPERAND(position, int32_t, T, top_k), OPERAND(experts, int32_t, T, top_k));

    if (r < 0)
        return r;
    if (S > INT32_MAX || n_experts < 1)
        return cpu_refuse(c, "dispatch", "n_experts > 0 and T * top_k fits in 31 bits", S);
    r = cpu_check_indices(c, "dispatch", "experts", expert, (size_t)S, n_experts);
    if (r < 0)
        return r;
    memset(offsets, 0, ((size_t)n_experts + 1) * sizeof(*offsets));
    for (int64_t s = 0; s < S; s++)
        offsets[expert[s] + 1]++;
    for (int e = 0; e < n_experts; e++)
        offsets[e + 1] += offsets[e];
    for (int64_t s = 0; s < S; s++) {
        int32_t slot = offsets[expert[s]]++;

        slot_of[s] = slot;
        token_of[slot] = (int32_t)(s / top_k);
    }
    /* each offset has moved to the next one's place */
    memmove(offsets + 1, offsets, (size_t)n_experts * sizeof(*offsets));
    offsets[0] = 0;
    return 0;
}

struct combine {
    float *x;
    const float *y, *weights;
    const int32_t *position;
    size_t T, d, top_k;
};

static void combine_part(const struct combine *op, size_t t, size_t first, size_t n) {
    float sum[COMBINE_COLUMNS] = {0}, *x = op->x + t * op->d + first;

    for (size_t j = 0; j < op->top_k; j++) {
        float weight = op->weights[t * op->top_k + j];
        const float *y = op->y + (size_t)op->position[t * op->top_k + j] * op->d + first;

        for (size_t i = 0; i < n; i++)
            sum[i] += weight * y[i];
    }
    for (size_t i = 0; i < n; i++)
        x[i] += sum[i];
}

static void combine_rows(const void *arg, size_t task, int worker) {
    const struct combine *op = arg;
    size_t end = MIN(op->T, (task + 1) * COMBINE_ROWS);

    (void)worker;
    for (size_t t = task * COMBINE_ROWS; t < end; t++) {
        for (size_t i = 0; i < op->d; i += COMBINE_COLUMNS)
            combine_part(op, t, i, MIN(COMBINE_COLUMNS, op->d - i));
    }
}

int cpu_combine(struct backend *b, struct span x, struct span y, struct span position,
                struct span weights, int T, int d, int top_k) {
    struct cpu *c = cpu_of(b);
    struct combine op = {(float *)x.at, (float *)y.at, (float *)weights.at, (int32_t *)position.at,
                         (size_t)T,     (size_t)d,     (size_t)top_k};
    int r = cpu_check(c, "combine", OPERAND(x, float, T, d), OPERAND(y, float, T, top_k, d),
                      OPERAND(position, int32_t, T, top_k), OPERAND(weights, float, T, top_k));

    if (r == 0 && (int64_t)T * top_k > INT32_MAX)
        r = cpu_refuse(c, "combine", "T * top_k fits in 31 bits", (int64_t)T * top_k);
    if (r == 0)
        r = cpu_check_indices(c, "combine", "position", op.position, op.T * op.top_k, T * top_k);
    if (r < 0)
        return r;
    return cpu_run(c, n_tiles(op.T, COMBINE_ROWS), 0, combine_rows, &op);
}
