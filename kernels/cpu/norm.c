// SPDX-License-Identifier: Apache-2.0
/* RMSNorm (arXiv 1910.07467): mean of squares in 16 lanes of f32. */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vector.h"

#include <errno.h>
#include <math.h>

#define ROWS 16

struct norm {
    float *y;
    const float *x, *w;
    size_t ldy, ldx, T, n;
    float eps;
};

vector_clones static float sum_of_squares(const float *x, size_t n) {
    float lanes[N_LANES] = {0};
    size_t i = 0;

    for (; i + N_LANES <= n; i += N_LANES) {
        for (int l = 0; l < N_LANES; l++)
            lanes[l] += x[i + l] * x[i + l];
    }
    for (; i < n; i++)
        lanes[i % N_LANES] += x[i] * x[i];
    return lanes_sum(lanes);
}

static void norm_rows(const void *arg, size_t task, int worker) {
    const struct norm *op = arg;
    size_t end = MIN(op->T, (task + 1) * ROWS);

    (void)worker;
    for (size_t t = task * ROWS; t < end; t++) {
        const float *x = op->x + t * op->ldx;
        float *y = op->y + t * op->ldy;
        float f = 1.0f / sqrtf(sum_of_squares(x, op->n) / (float)op->n + op->eps);

        for (size_t i = 0; i < op->n; i++)
            y[i] = x[i] * f * op->w[i];
    }
}

int cpu_rmsnorm(struct backend *b, struct span y, int ldy, struct span x, int ldx, struct span w,
                int T, int n, float eps) {
    struct cpu *c = cpu_of(b);
    struct norm op = {(float *)y.at, (float *)x.at, (float *)w.at, (size_t)ldy,
                      (size_t)ldx,   (size_t)T,     (size_t)n,     eps};
    int r;

    if (T < 1)
        return cpu_refuse(c, "rmsnorm", "T > 0", T);
    if (ldx < n || ldy < n)
        return cpu_refuse(c, "rmsnorm", "ldx and ldy >= n", MIN(ldx, ldy));
    r = cpu_check(c, "rmsnorm", OPERAND(w, float, n), OPERAND(x, float, (T - 1LL) * ldx + n),
                  OPERAND(y, float, (T - 1LL) * ldy + n));
    if (r < 0)
        return r;
    return cpu_run(c, n_tiles(op.T, ROWS), 0, norm_rows, &op);
}
