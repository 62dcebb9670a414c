// SPDX-License-Identifier: Apache-2.0
/*
 * A test of OpenBLAS's products on this processor.
 *
 * An element of a product of @k terms may be off by k * 2^-24 of the sum of its terms' sizes
 * (Higham, Accuracy and Stability, section 3.1), in whatever order they are added; factors and
 * inverses likewise by their residuals. Wrong kernels are off by far more.
 */
#include "kernels/cpu/choice/product_test.h"

#include "base/cleanup.h"
#include "base/macros.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <stdint.h>

#define PAD 3 /* rows are longer than the matrix: what is behind must stay as it was */
#define BEHIND 12345.0f
#define EPSILON 0x1p-24

struct matrix {
    float *at; /* [rows, ld], row-major */
    int rows, columns, ld;
};

static void matrix_done(struct matrix *m) {
    free(m->at);
}

/* Numbers from -1 to 1 whose sequence @seed begins. @at stays NULL when there is no memory. */
static struct matrix matrix_new(int rows, int columns, uint64_t seed) {
    struct matrix m = {NULL, rows, columns, columns + PAD};

    m.at = calloc((size_t)rows * (size_t)m.ld, sizeof(float));
    for (int i = 0; m.at && i < rows; i++)
        for (int j = 0; j < m.ld; j++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            m.at[(size_t)i * (size_t)m.ld + (size_t)j] =
                j < columns ? (float)((int32_t)(seed >> 32)) * 0x1p-31f : BEHIND;
        }
    return m;
}

static float *entry(const struct matrix *m, int i, int j) {
    return &m->at[(size_t)i * (size_t)m->ld + (size_t)j];
}

static bool padding_is_kept(const struct matrix *m) {
    for (int i = 0; i < m->rows; i++)
        for (int j = m->columns; j < m->ld; j++)
            if (*entry(m, i, j) != BEHIND)
                return false;
    return true;
}

/* One operand as the product sees it: its element (i, l) lies at i * row + l * column. */
struct view {
    const float *at;
    int row, column;
};

/* Is @got the sum over l of a(i, l) b(l, j), plus @before, to within what @k roundings allow? */
static bool is_sum(float got, double before, const struct view *a, const struct view *b, int i,
                   int j, int k) {
    double sum = before, size = fabs(before);

    for (int l = 0; l < k; l++) {
        double term = (double)a->at[(size_t)i * (size_t)a->row + (size_t)l * (size_t)a->column] *
                      b->at[(size_t)l * (size_t)b->row + (size_t)j * (size_t)b->column];

        sum += term;
        size += fabs(term);
    }
    return fabs(got - sum) <= (k + 4) * EPSILON * size;
}

/* Of a large product every seventh row is tested: 7 has no factor in common with an unrolling. */
static int next_row(int i, int rows) {
    return rows > 64 ? i + 7 : i + 1;
}

static struct view view_of(const struct matrix *m, bool transposed) {
    return transposed ? (struct view){m->at, 1, m->ld} : (struct view){m->at, m->ld, 1};
}

/* y = a b + beta y of [m, k] and [k, n], each stored as it is or transposed. */
static bool test_gemm(int m, int n, int k, bool a_transposed, bool b_transposed, float beta) {
    cleanup(matrix_done) struct matrix a = a_transposed ? matrix_new(k, m, 1) : matrix_new(m, k, 1);
    cleanup(matrix_done) struct matrix b = b_transposed ? matrix_new(n, k, 2) : matrix_new(k, n, 2);
    cleanup(matrix_done) struct matrix y = matrix_new(m, n, 3), before = matrix_new(m, n, 3);
    struct view va = view_of(&a, a_transposed), vb = view_of(&b, b_transposed);

    if (!a.at || !b.at || !y.at || !before.at)
        return false;
    cblas_sgemm(CblasRowMajor, a_transposed ? CblasTrans : CblasNoTrans,
                b_transposed ? CblasTrans : CblasNoTrans, m, n, k, 1.0f, a.at, a.ld, b.at, b.ld,
                beta, y.at, y.ld);
    for (int i = 0; i < m; i = next_row(i, m))
        for (int j = 0; j < n; j++)
            if (!is_sum(*entry(&y, i, j), (double)beta * *entry(&before, i, j), &va, &vb, i, j, k))
                return false;
    return padding_is_kept(&y);
}

static bool test_gemv(int n, int k, float beta) {
    cleanup(matrix_done) struct matrix w = matrix_new(n, k, 1), x = matrix_new(1, k, 2);
    cleanup(matrix_done) struct matrix y = matrix_new(1, n, 3), before = matrix_new(1, n, 3);
    struct view vw = view_of(&w, false), vx = view_of(&x, true);

    if (!w.at || !x.at || !y.at || !before.at)
        return false;
    cblas_sgemv(CblasRowMajor, CblasNoTrans, n, k, 1.0f, w.at, w.ld, x.at, 1, beta, y.at, 1);
    for (int j = 0; j < n; j++)
        if (!is_sum(y.at[j], (double)beta * before.at[j], &vw, &vx, j, 0, k))
            return false;
    return padding_is_kept(&y);
}

/* The lower triangle of h + x'x; the upper one stays as it was. x is [rows, n]. */
static bool test_syrk(int n, int rows) {
    cleanup(matrix_done) struct matrix x = matrix_new(rows, n, 1);
    cleanup(matrix_done) struct matrix h = matrix_new(n, n, 2), before = matrix_new(n, n, 2);
    struct view left = view_of(&x, true), right = view_of(&x, false);

    if (!x.at || !h.at || !before.at)
        return false;
    cblas_ssyrk(CblasRowMajor, CblasLower, CblasTrans, n, rows, 1.0f, x.at, x.ld, 1.0f, h.at, h.ld);
    for (int i = 0; i < n; i = next_row(i, n))
        for (int j = 0; j < n; j++) {
            float was = *entry(&before, i, j), is = *entry(&h, i, j);

            if (j > i ? is != was : !is_sum(is, was, &left, &right, i, j, rows))
                return false;
        }
    return padding_is_kept(&h);
}

/* y = x h of [rows, n] and a symmetric [n, n], of which the lower triangle is read. */
static bool test_symm(int rows, int n) {
    cleanup(matrix_done) struct matrix x = matrix_new(rows, n, 1), h = matrix_new(n, n, 2);
    cleanup(matrix_done) struct matrix y = matrix_new(rows, n, 3);
    cleanup(matrix_done) struct matrix full = matrix_new(n, n, 2);
    struct view vx = view_of(&x, false), vh = view_of(&full, false);

    if (!x.at || !h.at || !y.at || !full.at)
        return false;
    for (int i = 0; i < n; i++)
        for (int j = i + 1; j < n; j++) {
            *entry(&full, i, j) = *entry(&full, j, i);
            *entry(&h, i, j) = NAN;
        }
    cblas_ssymm(CblasRowMajor, CblasRight, CblasLower, rows, n, 1.0f, h.at, h.ld, x.at, x.ld, 0.0f,
                y.at, y.ld);
    for (int i = 0; i < rows; i = next_row(i, rows))
        for (int j = 0; j < n; j++)
            if (!is_sum(*entry(&y, i, j), 0, &vx, &vh, i, j, n))
                return false;
    return padding_is_kept(&y);
}

/* a well-conditioned positive definite matrix: its diagonal outweighs each row */
static struct matrix definite_new(int n) {
    struct matrix a = matrix_new(n, n, 5);

    for (int i = 0; a.at && i < n; i++) {
        for (int j = 0; j < i; j++)
            *entry(&a, i, j) = *entry(&a, j, i);
        *entry(&a, i, i) = (float)n + *entry(&a, i, i);
    }
    return a;
}

/* Lower factor l of a = l l', and its inverse, as factor.c makes them. */
static bool test_factor(int n) {
    cleanup(matrix_done) struct matrix a = definite_new(n), l = definite_new(n);
    cleanup(matrix_done) struct matrix inverse = definite_new(n);
    struct view vl = view_of(&l, false), across = view_of(&l, true);
    struct view vi = view_of(&inverse, false);

    if (!a.at || !l.at || !inverse.at || LAPACKE_spotrf_work(LAPACK_COL_MAJOR, 'U', n, l.at, l.ld))
        return false;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            *entry(&inverse, i, j) = j <= i ? *entry(&l, i, j) : 0;
            if (j <= i && !is_sum(*entry(&a, i, j), 0, &vl, &across, i, j, j + 1))
                return false;
        }
    if (LAPACKE_strtri_work(LAPACK_COL_MAJOR, 'U', 'N', n, inverse.at, inverse.ld))
        return false;
    for (int i = 0; i < n; i++)
        for (int j = 0; j <= i; j++) /* row i of the factor ends at column i */
            if (!is_sum(i == j, 0, &vl, &vi, i, j, i + 1))
                return false;
    return padding_is_kept(&l) && padding_is_kept(&inverse);
}

/* Edges of every size that a kernel unrolls by, and blocks beyond those that are packed. */
static bool test_small(void) {
    static const int sizes[] = {1, 2, 3, 4, 5, 7, 8, 11, 15, 16, 17, 23, 31, 33, 47, 49};

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
        for (size_t j = 0; j < ARRAY_SIZE(sizes); j++) {
            int m = sizes[i], n = sizes[j], k = sizes[(i * 5 + j * 3) % ARRAY_SIZE(sizes)];

            if (!test_gemm(m, n, k, false, true, (i + j) % 2) ||
                !test_gemm(m, n, k, false, false, (i + j) % 2) ||
                !test_gemm(m, n, k, true, false, 1) || !test_gemv(m, n, (i + j) % 2) ||
                !test_syrk(m, n) || !test_symm(m, n))
                return false;
        }
    for (int n = 1; n <= 40; n++)
        if (!test_factor(n))
            return false;
    return true;
}

static bool test_large(void) {
    static const struct {
        int m, n, k;
    } shapes[] = {{256, 512, 256}, {255, 511, 129}, {32, 128, 1024}, {97, 130, 777}};

    for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
        int m = shapes[i].m, n = shapes[i].n, k = shapes[i].k;

        if (!test_gemm(m, n, k, false, true, 0) || !test_gemm(m, n, k, false, true, 1) ||
            !test_gemm(m, n, k, false, false, 0) || !test_gemm(m, n, k, true, false, 1) ||
            !test_gemv(n, k, 0) || !test_syrk(m, k) || !test_symm(m, n))
            return false;
    }
    return test_factor(128) && test_factor(261);
}

bool product_test(void) {
    openblas_set_num_threads(1);
    return test_small() && test_large();
}
