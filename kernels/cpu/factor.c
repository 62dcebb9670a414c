// SPDX-License-Identifier: Apache-2.0
/*
 * The factor of the inverse Hessian that GPTQ walks along: u'u = inverse of h, u upper.
 *
 * With J the reversal of rows or columns and J h J = L L', inverse(h) = J inv(L)' inv(L) J =
 * (J inv(L) J)' (J inv(L) J): u = J inv(L) J. So one Cholesky factorization and one triangular
 * inverse, instead of two factorizations and a full inverse. All of it happens inside u. Reversing
 * rows and columns of a dense matrix is reversing the array. In column-major eyes the row-major
 * L is upper triangular, hence LAPACK's 'U'.
 */
#include "kernels/cpu/cpu.h"

#include <errno.h>
#include <lapacke.h>
#include <math.h>

struct factor {
    float *u;
    const float *h, *damp;
    const int32_t *perm;
    int32_t *info;
    float *condition;
    size_t n;
};

size_t cpu_factor_scratch(struct backend *b, int G, int n) {
    (void)b;
    (void)G;
    (void)n;
    return 0;
}

float cpu_damping(const float *h, size_t n, float damp) {
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += cpu_alive(h[i * n + i]);
    return (float)((double)damp * (sum / (double)n));
}

/* a, lower triangle = J (permuted h + damping) J */
static void load_reversed(float *a, const float *h, const int32_t *perm, size_t n, float damp) {
    for (size_t i = 0; i < n; i++) {
        size_t p = (size_t)perm[n - 1 - i];

        for (size_t j = 0; j < i; j++) {
            size_t q = (size_t)perm[n - 1 - j];

            a[i * n + j] = h[MAX(p, q) * n + MIN(p, q)];
        }
        a[i * n + i] = cpu_alive(h[p * n + p]) + damp;
    }
}

static void reverse(float *a, size_t size) {
    for (size_t i = 0; i < size / 2; i++) {
        float swap = a[i];

        a[i] = a[size - 1 - i];
        a[size - 1 - i] = swap;
    }
}

static bool lower_is_finite(const float *a, size_t n) {
    for (size_t i = 0; i < n; i++) {
        float sum = 0; /* of zeros, unless something is not finite */

        for (size_t j = 0; j <= i; j++)
            sum += a[i * n + j] * 0.0f;
        if (sum != 0)
            return false;
    }
    return true;
}

/* Of the diagonal of a [n, n]: the square of the largest over the least. */
static float condition_of(const float *a, size_t n) {
    float least = INFINITY, most = 0;

    for (size_t i = 0; i < n; i++) {
        least = fminf(least, a[i * n + i]);
        most = fmaxf(most, a[i * n + i]);
    }
    return most / least * (most / least);
}

static void factor_one(const void *arg, size_t g, int worker) {
    const struct factor *op = arg;
    size_t n = op->n;
    const float *h = op->h + g * n * n;
    float *a = op->u + g * n * n;
    lapack_int ld = (lapack_int)n, info;

    (void)worker;
    load_reversed(a, h, op->perm + g * n, n, cpu_damping(h, n, op->damp[g]));
    info = LAPACKE_spotrf_work(LAPACK_COL_MAJOR, 'U', ld, a, ld);
    if (info == 0)
        info = LAPACKE_strtri_work(LAPACK_COL_MAJOR, 'U', 'N', ld, a, ld);
    if (info == 0 && !lower_is_finite(a, n))
        info = ld + 1;
    op->info[g] = info;
    if (info)
        return;
    op->condition[g] = condition_of(a, n);
    reverse(a, n * n);
}

int cpu_factor(struct backend *b, struct span u, struct span h, struct span perm, const float *damp,
               int32_t *info, float *condition, int G, int n, struct span scratch) {
    struct cpu *c = cpu_of(b);
    struct factor op = {(float *)u.at, (float *)h.at, damp,     (int32_t *)perm.at,
                        info,          condition,     (size_t)n};
    int r = cpu_check(c, "factor", OPERAND(u, float, G, n, n), OPERAND(h, float, G, n, n),
                      OPERAND(perm, int32_t, G, n));

    (void)scratch;
    if (r == 0)
        r = cpu_check_indices(c, "factor", "perm", op.perm, (size_t)G * op.n, n);
    return r < 0 ? r : cpu_run(c, (size_t)G, 0, factor_one, &op);
}
