// SPDX-License-Identifier: Apache-2.0
/*
 * Output error of each row: the quadratic forms e h e' and w h w' of rows e = w - dq and w. h is
 * known by its lower triangle: e h e' = sum over blocks of columns J of
 * (2 e[below J] h[below J, J] + e[J] h[J, J]) . e[J].
 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vector.h"

#include <cblas.h>
#include <errno.h>

#define ROWS 128
#define BLOCK 256

struct output_error {
    struct cpu *c;
    float *num, *den;
    const float *w, *dq, *h;
    size_t rows, n, row_tiles;
};

vector_clones static float dot(const float *a, const float *z, size_t n) {
    float lanes[N_LANES] = {0};
    size_t i = 0;

    for (; i + N_LANES <= n; i += N_LANES) {
        for (int l = 0; l < N_LANES; l++)
            lanes[l] += a[i + l] * z[i + l];
    }
    for (; i < n; i++)
        lanes[i % N_LANES] += a[i] * z[i];
    return lanes_sum(lanes);
}

/* ret [rows] = diag(e h e') of @rows rows e [rows, n]; @product [ROWS, BLOCK] is scratch */
static void quadratic(const struct output_error *op, size_t g, const float *e, size_t rows,
                      float *product, float *ret) {
    size_t n = op->n;
    const float *h = op->h + g * n * n;
    double sums[ROWS] = {0};

    for (size_t j = 0; j < n; j += BLOCK) {
        size_t width = MIN(BLOCK, n - j), below = j + width;

        cblas_ssymm(CblasRowMajor, CblasRight, CblasLower, (int)rows, (int)width, 1.0f,
                    h + j * n + j, (int)n, e + j, (int)n, 0, product, BLOCK);
        if (below < n)
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)rows, (int)width,
                        (int)(n - below), 2.0f, e + below, (int)n, h + below * n + j, (int)n, 1.0f,
                        product, BLOCK);
        for (size_t r = 0; r < rows; r++)
            sums[r] += dot(product + r * BLOCK, e + r * n + j, width);
    }
    for (size_t r = 0; r < rows; r++)
        ret[r] = (float)sums[r];
}

static void error_tile(const void *arg, size_t task, int worker) {
    const struct output_error *op = arg;
    size_t g = task / op->row_tiles, row = task % op->row_tiles * ROWS;
    size_t rows = MIN(ROWS, op->rows - row), at = g * op->rows + row;
    const float *w = op->w + at * op->n, *dq = op->dq + at * op->n;
    float *e = cpu_scratch(op->c, worker), *product = e + ROWS * op->n;

    for (size_t i = 0; i < rows * op->n; i++)
        e[i] = w[i] - dq[i];
    quadratic(op, g, e, rows, product, op->num + at);
    quadratic(op, g, w, rows, product, op->den + at);
}

size_t cpu_output_error_scratch(struct backend *b, int G, int rows, int n) {
    (void)b;
    (void)G;
    (void)rows;
    (void)n;
    return 0;
}

int cpu_output_error(struct backend *b, struct span num, struct span den, struct span w,
                     struct span dq, struct span h, int G, int rows, int n, struct span scratch) {
    struct cpu *c = cpu_of(b);
    struct output_error op = {c,
                              (float *)num.at,
                              (float *)den.at,
                              (float *)w.at,
                              (float *)dq.at,
                              (float *)h.at,
                              (size_t)rows,
                              (size_t)n,
                              n_tiles((size_t)rows, ROWS)};
    int r = cpu_check(c, "output_error", OPERAND(num, float, G, rows), OPERAND(den, float, G, rows),
                      OPERAND(w, float, G, rows, n), OPERAND(dq, float, G, rows, n),
                      OPERAND(h, float, G, n, n));

    (void)scratch;
    if (r < 0)
        return r;
    return cpu_run(c, (size_t)G * op.row_tiles, (op.n + BLOCK) * ROWS * sizeof(float), error_tile,
                   &op);
}
