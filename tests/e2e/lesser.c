// SPDX-License-Identifier: Apache-2.0
/*
 * A library to preload that makes an OpenBLAS older than this processor: it says that it chose
 * Prescott, unless OPENBLAS_CORETYPE chooses. The kernels that the variable chooses are broken in
 * the way that BROKEN_KERNELS says: wrong, crash or hang.
 */
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cblas.h>

static const char *variable(const char *name) {
    const char *value = getenv(name);

    return value ? value : "";
}

char *openblas_get_corename(void) {
    static char lesser[] = "Prescott";
    char *(*next)(void) = (char *(*)(void))dlsym(RTLD_NEXT, "openblas_get_corename");

    return *variable("OPENBLAS_CORETYPE") ? next() : lesser;
}

void cblas_sgemm(OPENBLAS_CONST enum CBLAS_ORDER order, OPENBLAS_CONST enum CBLAS_TRANSPOSE ta,
                 OPENBLAS_CONST enum CBLAS_TRANSPOSE tb, OPENBLAS_CONST blasint m,
                 OPENBLAS_CONST blasint n, OPENBLAS_CONST blasint k, OPENBLAS_CONST float alpha,
                 OPENBLAS_CONST float *a, OPENBLAS_CONST blasint lda, OPENBLAS_CONST float *b,
                 OPENBLAS_CONST blasint ldb, OPENBLAS_CONST float beta, float *c,
                 OPENBLAS_CONST blasint ldc) {
    __typeof__(cblas_sgemm) *next = (__typeof__(cblas_sgemm) *)dlsym(RTLD_NEXT, "cblas_sgemm");
    const char *broken = *variable("OPENBLAS_CORETYPE") ? variable("BROKEN_KERNELS") : "";

    if (strcmp(broken, "crash") == 0)
        raise(SIGILL);
    while (strcmp(broken, "hang") == 0)
        pause();
    next(order, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
    if (strcmp(broken, "wrong") == 0 && m > 1 && n > 30)
        c[ldc + 30] *= 1.001f;
}
