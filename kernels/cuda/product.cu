// SPDX-License-Identifier: Apache-2.0
/*
 * Products whose count of tokens is another one at every call: those of experts.
 *
 * cublasGemmEx() chooses a kernel anew for every shape that it has not just seen, which costs the
 * host more than the device needs for the product. Here one choice serves all counts that round
 * up to the same one of eight to an octave; it is asked of cuBLAS once and kept. What is asked
 * depends on nothing but the shape, so the choice is the same in every process.
 * Kernels that split the sum over tokens or inputs between blocks are left out: 64 products side
 * by side fill the device without.
 * A pointer off 16 bytes, or a shape that the kept choice does not fit, goes to cublasGemmEx().
 */
#include "kernels/cuda/device.cuh"

#include <string.h>

/* As column-major cuBLAS sees it: c [m, n] = a b + beta c, over k. */
struct product {
    const void *a, *b;
    void *c;
    cublasOperation_t op_a, op_b;
    int m, n, k;
    cudaDataType c_type;
    float beta;
};

struct product_layouts {
    cublasLtMatmulDescOpaque_t desc;
    cublasLtMatrixLayoutOpaque_t a, b, c;
};

static int leading_a(const struct product *p) {
    return p->op_a == CUBLAS_OP_N ? p->m : p->k;
}

static int leading_b(const struct product *p) {
    return p->op_b == CUBLAS_OP_N ? p->k : p->n;
}

static int gemm(struct cuda_backend *b, struct lane *lane, const struct product *p) {
    const float alpha = 1.0f;

    BLAS_TRY(b, cublasGemmEx(lane->blas, p->op_a, p->op_b, p->m, p->n, p->k, &alpha, p->a,
                             CUDA_R_16BF, leading_a(p), p->b, CUDA_R_16BF, leading_b(p), &p->beta,
                             p->c, p->c_type, p->m, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT));
    return 0;
}

static int describe(struct cuda_backend *b, const struct product *p, struct product_layouts *l) {
    int64_t a_columns = p->op_a == CUBLAS_OP_N ? p->k : p->m;
    int64_t b_columns = p->op_b == CUBLAS_OP_N ? p->n : p->k;

    BLAS_TRY(b, cublasLtMatmulDescInit(&l->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    BLAS_TRY(b, cublasLtMatmulDescSetAttribute(&l->desc, CUBLASLT_MATMUL_DESC_TRANSA, &p->op_a,
                                               sizeof(p->op_a)));
    BLAS_TRY(b, cublasLtMatmulDescSetAttribute(&l->desc, CUBLASLT_MATMUL_DESC_TRANSB, &p->op_b,
                                               sizeof(p->op_b)));
    BLAS_TRY(b,
             cublasLtMatrixLayoutInit(&l->a, CUDA_R_16BF, leading_a(p), a_columns, leading_a(p)));
    BLAS_TRY(b,
             cublasLtMatrixLayoutInit(&l->b, CUDA_R_16BF, leading_b(p), b_columns, leading_b(p)));
    BLAS_TRY(b, cublasLtMatrixLayoutInit(&l->c, p->c_type, p->m, p->n, p->m));
    return 0;
}

/* Asks cuBLAS; what it does not know how to do it is not asked again. */
static int choose(struct cuda_backend *b, struct lane *lane, const struct product *p,
                  struct product_choice *choice) {
    const uint32_t splits = CUBLASLT_REDUCTION_SCHEME_NONE, alignment = 16;
    const size_t workspace = BLAS_WORKSPACE;
    cublasLtMatmulHeuristicResult_t result;
    cublasLtMatmulPreferenceOpaque_t preference;
    struct product_layouts l;
    int found = 0;

    TRY(describe(b, p, &l));
    BLAS_TRY(b, cublasLtMatmulPreferenceInit(&preference));
    BLAS_TRY(b, cublasLtMatmulPreferenceSetAttribute(&preference,
                                                     CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                     &workspace, sizeof(workspace)));
    BLAS_TRY(b, cublasLtMatmulPreferenceSetAttribute(&preference,
                                                     CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                                     &splits, sizeof(splits)));
    for (cublasLtMatmulPreferenceAttributes_t which :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
        BLAS_TRY(b, cublasLtMatmulPreferenceSetAttribute(&preference, which, &alignment,
                                                         sizeof(alignment)));
    choice->known = cublasLtMatmulAlgoGetHeuristic((cublasLtHandle_t)lane->blas, &l.desc, &l.a,
                                                   &l.b, &l.c, &l.c, &preference, 1, &result,
                                                   &found) == CUBLAS_STATUS_SUCCESS &&
                    found == 1;
    if (choice->known)
        choice->algo = result.algo;
    return 0;
}

/* @tokens rounded up to one of eight to an octave; exact up to 16. */
static long bucket_of(int tokens) {
    long step = 1;

    while (tokens > 16 * step)
        step *= 2;
    return (tokens + step - 1) / step * step;
}

/* The place of the choice for the key, or where it is to go. The table is never full. */
static struct product_choice *find_choice(struct product_choices *all,
                                          const struct product_choice *key) {
    uint32_t hash = (uint32_t)key->bucket * 2654435761u ^ (uint32_t)key->n_in * 40503u ^
                    (uint32_t)key->n_out * 69069u ^ (uint32_t)key->gram;

    for (uint32_t i = hash ^ hash >> 16;; i++) {
        struct product_choice *at = &all->table[i % N_CHOICES];

        if (!at->bucket || (at->bucket == key->bucket && at->n_in == key->n_in &&
                            at->n_out == key->n_out && at->gram == key->gram))
            return at;
    }
}

static int run(struct cuda_backend *b, struct lane *lane, struct product *p) {
    const float alpha = 1.0f;
    bool gram = p->op_b == CUBLAS_OP_T;
    int *place = gram ? &p->k : &p->n, tokens = *place;
    struct product_choices *all = &b->choices;
    struct product_choice key = {}, *choice;
    struct product_layouts l;
    cublasStatus_t status;

    key.gram = gram;
    key.n_in = gram ? p->n : p->k;
    key.n_out = p->m;
    key.bucket = bucket_of(tokens);
    if (!aligned16(p->a) || !aligned16(p->b) || !aligned16(p->c) || key.bucket > INT32_MAX)
        return gemm(b, lane, p);
    choice = find_choice(all, &key);
    if (!choice->bucket) {
        if (all->n >= N_CHOICES * 3 / 4) {
            memset(all, 0, sizeof(*all));
            choice = find_choice(all, &key);
        }
        *place = (int)key.bucket;
        TRY(choose(b, lane, p, &key));
        *place = tokens;
        *choice = key;
        all->n++;
    }
    if (!choice->known)
        return gemm(b, lane, p);
    TRY(describe(b, p, &l));
    status = cublasLtMatmul((cublasLtHandle_t)lane->blas, &l.desc, &alpha, p->a, &l.a, p->b, &l.b,
                            &p->beta, p->c, &l.c, p->c, &l.c, &choice->algo, lane->workspace,
                            BLAS_WORKSPACE, lane->stream);
    if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE)
        return gemm(b, lane, p);
    BLAS_TRY(b, status);
    return 0;
}

int product_linear(struct cuda_backend *b, struct lane *lane, bf16 *y, const bf16 *x, const bf16 *w,
                   int tokens, int n_in, int n_out) {
    struct product p = {w, x, y, CUBLAS_OP_T, CUBLAS_OP_N, n_out, tokens, n_in, CUDA_R_16BF, 0.0f};

    return run(b, lane, &p);
}

int product_gram(struct cuda_backend *b, struct lane *lane, float *h, const bf16 *y, const bf16 *x,
                 int tokens, int n) {
    struct product p = {x, y, h, CUBLAS_OP_N, CUBLAS_OP_T, n, n, tokens, CUDA_R_32F, 1.0f};

    return run(b, lane, &p);
}
