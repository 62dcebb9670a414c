// SPDX-License-Identifier: Apache-2.0
/*
 * Products with weight matrices: y = x w', for all rows, or expert by expert. Tiles of rows and
 * of outputs, each one sgemm over the whole of n_in.
 */
#include "kernels/cpu/cpu.h"

#include <cblas.h>
#include <errno.h>

/* sgemm reaches its peak from about here on; packing costs 1/ROWS + 1/OUTS of the product. */
#define ROWS 256
#define OUTS 512

/* Few rows are bound by reading w: smaller tiles give every thread a part of it. */
#define FEW_ROWS 32
#define FEW_OUTS 128

struct product {
    float *y;
    const float *x, *w;
    size_t n_in, n_out;
    bool add;
};

static size_t outs_of(size_t rows) {
    return rows <= FEW_ROWS ? FEW_OUTS : OUTS;
}

static size_t product_tiles(size_t rows, size_t n_out) {
    return n_tiles(rows, ROWS) * n_tiles(n_out, outs_of(rows));
}

/* Tile @tile of the product of @rows rows; neighbours share their part of w. */
static void product_tile(const struct product *p, size_t rows, size_t tile) {
    size_t outs = outs_of(rows), row_tiles = n_tiles(rows, ROWS);
    size_t row = tile % row_tiles * ROWS, out = tile / row_tiles * outs;
    int m = (int)MIN(ROWS, rows - row), n = (int)MIN(outs, p->n_out - out), k = (int)p->n_in;
    const float *x = p->x + row * p->n_in, *w = p->w + out * p->n_in;
    float *y = p->y + row * p->n_out + out, beta = p->add ? 1.0f : 0.0f;

    if (m == 1)
        cblas_sgemv(CblasRowMajor, CblasNoTrans, n, k, 1.0f, w, k, x, 1, beta, y, 1);
    else
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, n, k, 1.0f, x, k, w, k, beta, y,
                    (int)p->n_out);
}

struct linear {
    struct product product;
    size_t rows;
};

static void linear_tile(const void *arg, size_t task, int worker) {
    const struct linear *op = arg;

    (void)worker;
    product_tile(&op->product, op->rows, task);
}

int cpu_linear(struct backend *b, struct span y, struct span x, struct span w, int T, int n_in,
               int n_out, bool add) {
    struct cpu *c = cpu_of(b);
    int r = cpu_check(c, "linear", OPERAND(y, float, T, n_out), OPERAND(x, float, T, n_in),
                      OPERAND(w, float, n_out, n_in));
    struct linear op = {
        .product = {(float *)y.at, (float *)x.at, (float *)w.at, (size_t)n_in, (size_t)n_out, add},
        .rows = (size_t)T,
    };

    if (r < 0)
        return r;
    return cpu_run(c, product_tiles(op.rows, op.product.n_out), 0, linear_tile, &op);
}

struct experts {
    struct product product; /* of row 0 and expert 0 */
    const int32_t *offsets;
    int n_experts;
};

static size_t expert_rows(const struct experts *op, int expert) {
    return (size_t)(op->offsets[expert + 1] - op->offsets[expert]);
}

static void expert_tile(const void *arg, size_t task, int worker) {
    const struct experts *op = arg;
    struct product p = op->product;
    int e = 0;

    (void)worker;
    for (; e < op->n_experts; e++) {
        size_t tiles = product_tiles(expert_rows(op, e), p.n_out);

        if (task < tiles)
            break;
        task -= tiles;
    }
    p.x += (size_t)op->offsets[e] * p.n_in;
    p.y += (size_t)op->offsets[e] * p.n_out;
    p.w += (size_t)e * p.n_in * p.n_out;
    product_tile(&p, expert_rows(op, e), task);
}

int cpu_expert_linear(struct backend *b, struct span y, struct span x, struct span w,
                      const int32_t *offsets, int n_experts, int n_in, int n_out) {
    struct cpu *c = cpu_of(b);
    struct experts op = {
        .product = {(float *)y.at, (float *)x.at, (float *)w.at, (size_t)n_in, (size_t)n_out,
                    false},
        .offsets = offsets,
        .n_experts = n_experts,
    };
    size_t tasks = 0;
    int r, S;

    r = cpu_check_offsets(c, "expert_linear", offsets, n_experts);
    if (r < 0)
        return r;
    S = offsets[n_experts];
    if (S == offsets[0])
        return 0;
    r = cpu_check(c, "expert_linear", OPERAND(y, float, S, n_out), OPERAND(x, float, S, n_in),
                  OPERAND(w, float, n_experts, n_out, n_in));
    if (r < 0)
        return r;
    for (int e = 0; e < n_experts; e++)
        tasks += product_tiles(expert_rows(&op, e), op.product.n_out);
    return cpu_run(c, tasks, 0, expert_tile, &op);
}

int cpu_expert_swiglu(struct backend *b, struct span y, struct span x, struct span order,
                      struct span w, const int32_t *offsets, int n_experts, int T, int n_in,
                      int n_out, struct span rows, struct span gate_up) {
    struct cpu *c = cpu_of(b);
    bool gathers = order.size > 0;
    int r, S;

    r = cpu_check_offsets(c, "expert_swiglu", offsets, n_experts);
    if (r < 0)
        return r;
    S = offsets[n_experts];
    if (S == offsets[0])
        return 0;
    if (!gathers && T != S)
        return cpu_refuse(c, "expert_swiglu", "T is the count of slots when there is no order", T);
    r = cpu_check(c, "expert_swiglu", OPERAND(y, float, S, n_out), OPERAND(x, float, T, n_in),
                  OPERAND(w, float, n_experts, 2 * (int64_t)n_out, n_in),
                  OPERAND(gate_up, float, S, 2, n_out));
    if (r == 0 && gathers)
        r = cpu_check(c, "expert_swiglu", OPERAND(order, int32_t, S),
                      OPERAND(rows, float, S, n_in));
    if (r == 0 && gathers)
        r = cpu_gather(b, rows, x, order, S, T, n_in);
    if (r == 0)
        r = cpu_expert_linear(b, gate_up, gathers ? rows : x, w, offsets, n_experts, n_in,
                              2 * n_out);
    return r < 0 ? r : cpu_swiglu(b, y, gate_up, S, n_out);
}
