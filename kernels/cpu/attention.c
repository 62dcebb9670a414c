// SPDX-License-Identifier: Apache-2.0
/*
 * Causal attention, a block of queries of one head at a time: scores against all keys that the
 * block may see (sgemm), softmax row by row, product with the values (sgemm). A thread holds
 * QUERIES x seqlen scores, never the full matrix.
 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vector.h"

#include <cblas.h>
#include <errno.h>
#include <math.h>

#define QUERIES 128

struct attention {
    struct cpu *c;
    float *y;
    const float *qkv;
    size_t seqlen, n_heads, n_kv_heads, head_dim, n_blocks;
};

/* s = e^(s - max(s)), not yet divided by its sum, which is returned. */
vector_clones static float softmax_row(float *s, size_t n) {
    float sum[N_LANES] = {0}, top = vector_max(s, n);
    size_t i;

    for (i = 0; i + N_LANES <= n; i += N_LANES) {
        for (int l = 0; l < N_LANES; l++) {
            s[i + l] = vector_exp(s[i + l] - top);
            sum[l] += s[i + l];
        }
    }
    for (; i < n; i++) {
        s[i] = vector_exp(s[i] - top);
        sum[0] += s[i];
    }
    return lanes_sum(sum);
}

/* Softmax of the rows first .. first + rows - 1 against themselves and all before. */
static void softmax_block(float *scores, size_t first, size_t rows, float *ret_sums) {
    size_t keys = first + rows;

    for (size_t i = 0; i < rows; i++) {
        float *s = scores + i * keys;

        ret_sums[i] = softmax_row(s, first + i + 1);
        for (size_t j = first + i + 1; j < keys; j++)
            s[j] = 0;
    }
}

static void attend(const void *arg, size_t task, int worker) {
    const struct attention *op = arg;
    size_t block = op->n_blocks - 1 - task % op->n_blocks; /* the long ones first */
    size_t head = task / op->n_blocks % op->n_heads, window = task / op->n_blocks / op->n_heads;
    size_t kv = head / (op->n_heads / op->n_kv_heads), dim = op->head_dim;
    size_t first = block * QUERIES, rows = MIN(QUERIES, op->seqlen - first), keys = first + rows;
    size_t ld = (op->n_heads + 2 * op->n_kv_heads) * dim, ldy = op->n_heads * dim;
    const float *qkv = op->qkv + window * op->seqlen * ld;
    const float *q = qkv + first * ld + head * dim, *k = qkv + (op->n_heads + kv) * dim;
    const float *v = k + op->n_kv_heads * dim;
    float *y = op->y + (window * op->seqlen + first) * ldy + head * dim;
    float *scores = cpu_scratch(op->c, worker), sums[QUERIES];

    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, (int)keys, (int)dim,
                1.0f / sqrtf((float)dim), q, (int)ld, k, (int)ld, 0, scores, (int)keys);
    softmax_block(scores, first, rows, sums);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)rows, (int)dim, (int)keys, 1.0f,
                scores, (int)keys, v, (int)ld, 0, y, (int)ldy);
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < dim; j++)
            y[i * ldy + j] /= sums[i];
    }
}

int cpu_attention(struct backend *b, struct span y, struct span qkv, int n_windows, int seqlen,
                  int n_heads, int n_kv_heads, int head_dim) {
    struct cpu *c = cpu_of(b);
    int64_t T = (int64_t)n_windows * seqlen, heads = (int64_t)n_heads + 2 * (int64_t)n_kv_heads;
    struct attention op = {
        .c = c,
        .y = (float *)y.at,
        .qkv = (float *)qkv.at,
        .seqlen = (size_t)seqlen,
        .n_heads = (size_t)n_heads,
        .n_kv_heads = (size_t)n_kv_heads,
        .head_dim = (size_t)head_dim,
        .n_blocks = n_tiles((size_t)seqlen, QUERIES),
    };
    int r;

    if (n_windows < 1 || seqlen < 1)
        return cpu_refuse(c, "attention", "n_windows and seqlen > 0", MIN(n_windows, seqlen));
    if (n_kv_heads < 1 || n_heads < 1 || n_heads % n_kv_heads != 0)
        return cpu_refuse(c, "attention", "n_kv_heads divides n_heads", n_kv_heads);
    if (head_dim < 1 || heads > INT32_MAX / head_dim)
        return cpu_refuse(c, "attention", "a row fits", head_dim);
    r = cpu_check(c, "attention", OPERAND(y, float, T, n_heads, head_dim),
                  OPERAND(qkv, float, T, heads, head_dim));
    if (r < 0)
        return r;
    return cpu_run(c, (size_t)n_windows * op.n_heads * op.n_blocks,
                   QUERIES * op.seqlen * sizeof(float), attend, &op);
}
