// SPDX-License-Identifier: Apache-2.0
/* How fast the heavy ops of the cpu backend are, at the sizes of OLMoE-1B-7B. */
#include "base/clock.h"
#include "base/macros.h"
#include "kernels/backend.h"

#include <stdio.h>
#include <stdlib.h>

enum { D = 2048, MIDDLE = 1024, HEADS = 16, DIM = 128, SEQLEN = 2048, VOCAB = 50304, EXPERTS = 8 };

struct bench {
    const struct backend_ops *ops;
    struct backend *b;
    struct span x, y, w, h, u, perm, num, den, scratch;
    struct quantized q;
    int32_t offsets[EXPERTS + 1];
};

static struct span take(struct bench *m, size_t size) {
    struct span span;

    if (m->ops->alloc(m->b, size, &span) < 0) {
        puts(m->ops->failure(m->b)->detail);
        exit(EXIT_FAILURE);
    }
    return span;
}

static struct span take_random(struct bench *m, size_t n) {
    struct span span = take(m, n * sizeof(float));
    float *x = malloc(n * sizeof(float));
    uint32_t state = 1;

    if (!x)
        exit(EXIT_FAILURE);
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525 + 1013904223;
        x[i] = (float)(state >> 8) * 0x1p-24f - 0.5f;
    }
    m->ops->stage(m->b, span, x, DTYPE_F32, n);
    m->ops->stage_wait(m->b);
    free(x);
    return span;
}

static int linear(struct bench *m) {
    return m->ops->linear(m->b, m->y, m->x, m->w, SEQLEN, D, D, false);
}

static int linear_1(struct bench *m) {
    return m->ops->linear(m->b, m->y, m->x, m->w, 1, D, D, false);
}

static int attention(struct bench *m) {
    return m->ops->attention(m->b, m->y, m->x, 1, SEQLEN, HEADS, HEADS, DIM);
}

static int swiglu(struct bench *m) {
    return m->ops->swiglu(m->b, m->y, m->x, SEQLEN, D);
}

static int rmsnorm(struct bench *m) {
    return m->ops->rmsnorm(m->b, m->y, D, m->x, D, m->w, SEQLEN, D, 1e-5f);
}

static int rope(struct bench *m) {
    return m->ops->rope(m->b, m->y, D, SEQLEN, SEQLEN, HEADS, DIM, 1e4f);
}

static int experts(struct bench *m) {
    return m->ops->expert_linear(m->b, m->y, m->x, m->w, m->offsets, EXPERTS, D, MIDDLE);
}

static int head(struct bench *m) {
    return m->ops->head(m->b, m->y, m->y, m->y, m->x, m->h, m->perm, 256, D, VOCAB, m->scratch);
}

static int hessian_add(struct bench *m) {
    return m->ops->hessian_add(m->b, m->h, m->x, m->offsets, EXPERTS, D);
}

static int factor(struct bench *m) {
    float damp[EXPERTS] = {[0 ... EXPERTS - 1] = 0.01f};
    int32_t info[EXPERTS];
    float condition[EXPERTS];
    int r = m->ops->hessian_order(m->b, m->perm, m->h, EXPERTS, D, true);

    return r < 0 ? r
                 : m->ops->factor(m->b, m->u, m->h, m->perm, damp, info, condition, EXPERTS, D,
                                  m->scratch);
}

static int gptq_bits(struct bench *m, struct grid grid) {
    return m->ops->gptq(m->b, &m->q, m->y, m->w, m->u, m->perm, (struct span){}, m->h, &grid, false,
                        EXPERTS, MIDDLE, D, m->scratch);
}

static int gptq(struct bench *m) {
    return gptq_bits(m, (struct grid){4, 128, true, GRID_MINMAX});
}

static int gptq_mse(struct bench *m) {
    return gptq_bits(m, (struct grid){4, 128, true, GRID_MSE});
}

static int gptq_hessian(struct bench *m) {
    return gptq_bits(m, (struct grid){4, 128, true, GRID_HESSIAN});
}

static int refine(struct bench *m) {
    float damp[EXPERTS] = {[0 ... EXPERTS - 1] = 0.01f};
    struct refinement r = {m->q,   m->y,   m->w, m->h, {},  m->perm, m->u,
                           m->num, m->den, damp, 4,    128, 3,       2};

    return m->ops->refine(m->b, &r, EXPERTS, MIDDLE, D, m->scratch);
}

static int rtn(struct bench *m) {
    struct grid grid = {4, 128, true, GRID_MINMAX};

    return m->ops->rtn(m->b, &m->q, m->y, m->w, &grid, EXPERTS, MIDDLE, D);
}

static int output_error(struct bench *m) {
    return m->ops->output_error(m->b, m->num, m->den, m->w, m->y, m->h, EXPERTS, MIDDLE, D,
                                m->scratch);
}

static int dequantize(struct bench *m) {
    return m->ops->dequantize(m->b, m->y, &m->q, D / 128, EXPERTS, MIDDLE, D);
}

static int pack(struct bench *m) {
    return m->ops->pack(m->b, m->y, m->q.codes, 4, EXPERTS, MIDDLE, D);
}

/* In order: hessian_add makes what factor needs, and that gptq. */
static const struct {
    const char *name;
    int (*run)(struct bench *m);
    double work; /* in units of 1e9 */
    const char *unit;
} rows[] = {
    {"head, 256 tokens", head, 2.0 * 256 * D *VOCAB / 1e9, "GFLOP"},
    {"linear", linear, 2.0 * SEQLEN *D *D / 1e9, "GFLOP"},
    {"linear, 1 token", linear_1, 4.0 * D *D / 1e9, "GB"},
    {"attention", attention, 2.0 * SEQLEN *SEQLEN *DIM *HEADS / 1e9, "GFLOP"},
    {"swiglu", swiglu, 12.0 * SEQLEN *D / 1e9, "GB"},
    {"rmsnorm", rmsnorm, 8.0 * SEQLEN *D / 1e9, "GB"},
    {"rope", rope, 8.0 * SEQLEN *D / 1e9, "GB"},
    {"expert_linear", experts, 2.0 * SEQLEN *D *MIDDLE / 1e9, "GFLOP"},
    {"hessian_add", hessian_add, 1.0 * SEQLEN *D *D / 1e9, "GFLOP"},
    {"order, factor", factor, EXPERTS * 2.0 / 3 * D *D *D / 1e9, "GFLOP"},
    {"gptq", gptq, 1.0 * EXPERTS *MIDDLE *D *D / 1e9, "GFLOP"},
    {"output_error", output_error, 2.0 * EXPERTS *MIDDLE *D *D / 1e9, "GFLOP"},
    {"gptq, mse", gptq_mse, 1.0 * EXPERTS *MIDDLE *D *D / 1e9, "GFLOP"},
    {"gptq, hessian", gptq_hessian, 1.0 * EXPERTS *MIDDLE *D *D / 1e9, "GFLOP"},
    {"refine 3", refine, 22.0 * EXPERTS *MIDDLE *D *D / 1e9, "GFLOP"},
    {"rtn", rtn, 9.0 * EXPERTS *MIDDLE *D / 1e9, "GB"},
    {"dequantize", dequantize, 5.0 * EXPERTS *MIDDLE *D / 1e9, "GB"},
    {"pack", pack, 1.5 * EXPERTS *MIDDLE *D / 1e9, "GB"},
};

static double best_seconds(struct bench *m, int (*run)(struct bench *m)) {
    double best = 1e9;

    for (int i = 0; i < 3; i++) {
        double start = clock_monotonic();

        if (run(m) < 0 || m->ops->sync(m->b) < 0) {
            puts(m->ops->failure(m->b)->detail);
            exit(EXIT_FAILURE);
        }
        best = MIN(best, clock_monotonic() - start);
    }
    return best;
}

int main(void) {
    struct bench m = {.ops = &backend_cpu};
    size_t weights = (size_t)EXPERTS * MIDDLE * D;
    struct backend_info info;
    struct failure failure;

    if (m.ops->open(0, &m.b, &failure) < 0) {
        puts(failure.detail);
        return EXIT_FAILURE;
    }
    m.x = take_random(&m, (size_t)SEQLEN * 3 * D);
    m.w = take_random(&m, weights);
    m.h = take_random(&m, (size_t)VOCAB * D);
    m.y = take(&m, weights * sizeof(float));
    m.u = take(&m, (size_t)EXPERTS * D * D * sizeof(float));
    m.scratch = take(&m, (size_t)64 << 20);
    m.perm = take(&m, (size_t)EXPERTS * D * sizeof(int32_t));
    m.num = take(&m, (size_t)EXPERTS * MIDDLE * sizeof(float));
    m.den = take(&m, (size_t)EXPERTS * MIDDLE * sizeof(float));
    m.q = (struct quantized){take(&m, weights), take(&m, weights / 64), take(&m, weights / 128),
                             take(&m, (size_t)EXPERTS * D * sizeof(int32_t))};
    m.ops->zero(m.b, m.perm);
    for (int e = 0; e <= EXPERTS; e++)
        m.offsets[e] = SEQLEN / EXPERTS * e;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        double seconds = best_seconds(&m, rows[i].run);

        printf("%-18s %9.3f ms %8.1f %s/s\n", rows[i].name, seconds * 1e3, rows[i].work / seconds,
               rows[i].unit);
        if (rows[i].run == head)
            m.ops->zero(m.b, m.h);
    }
    m.ops->info(m.b, &info);
    printf("%s: peak %zu MiB\n", info.name, info.memory_peak >> 20);
    m.ops->close(m.b);
    return EXIT_SUCCESS;
}
