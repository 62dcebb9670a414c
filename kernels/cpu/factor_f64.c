// SPDX-License-Identifier: Apache-2.0
/* factor.c for one matrix in float64, by LAPACK's dpotrf and dtrtri. */
#include "kernels/cpu/cpu.h"

#include <lapacke.h>
#include <math.h>

size_t cpu_factor_f64_scratch(struct backend *b, int n) {
    (void)b;
    return (size_t)n * (size_t)n * sizeof(double);
}

/* a, lower triangle = J (permuted h + damping) J */
static void load_reversed(double *a, const float *h, const int32_t *perm, size_t n, double damp) {
    for (size_t i = 0; i < n; i++) {
        size_t p = (size_t)perm[n - 1 - i];

        for (size_t j = 0; j < i; j++) {
            size_t q = (size_t)perm[n - 1 - j];

            a[i * n + j] = h[MAX(p, q) * n + MIN(p, q)];
        }
        a[i * n + i] = (double)cpu_alive(h[p * n + p]) + damp;
    }
}

/* The square of the largest over the least of the diagonal; NaN when an element below is. */
static double condition_of(const double *a, size_t n) {
    double least = INFINITY, most = 0, poison = 0;

    for (size_t i = 0; i < n; i++) {
        least = fmin(least, a[i * n + i]);
        most = fmax(most, a[i * n + i]);
        for (size_t j = 0; j <= i; j++)
            poison += a[i * n + j] * 0.0; /* 0, unless something is not finite */
    }
    return most / least * (most / least) + poison;
}

int cpu_factor_f64(struct backend *b, struct span u, struct span h, struct span perm, float damp,
                   int32_t *info, float *condition, int n, struct span scratch) {
    struct cpu *c = cpu_of(b);
    lapack_int ld = n, found;
    double *a = (double *)scratch.at;
    size_t size = (size_t)n * (size_t)n;
    int r = cpu_check(c, "factor_f64", OPERAND(u, float, n, n), OPERAND(h, float, n, n),
                      OPERAND(perm, int32_t, n), OPERAND(scratch, double, n, n));

    if (r == 0)
        r = cpu_check_indices(c, "factor_f64", "perm", (int32_t *)perm.at, (size_t)n, n);
    if (r < 0)
        return r;
    load_reversed(a, (float *)h.at, (int32_t *)perm.at, (size_t)n,
                  cpu_damping((float *)h.at, (size_t)n, damp));
    found = LAPACKE_dpotrf_work(LAPACK_COL_MAJOR, 'U', ld, a, ld);
    if (found == 0)
        found = LAPACKE_dtrtri_work(LAPACK_COL_MAJOR, 'U', 'N', ld, a, ld);
    *condition = found == 0 ? (float)condition_of(a, (size_t)n) : INFINITY;
    *info = found == 0 && !isfinite(*condition) ? n + 1 : found;
    for (size_t i = 0; i < size && *info == 0; i++)
        ((float *)u.at)[size - 1 - i] = (float)a[i];
    return 0;
}
