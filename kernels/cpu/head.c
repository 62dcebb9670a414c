// SPDX-License-Identifier: Apache-2.0
/*
 * The language model's head, in tiles of TOKENS x WORDS logits that live in a thread's scratch.
 * Of each tile remain, per token, the largest logit, its word, and the sum of e^(logit - largest);
 * a second pass joins these in the order of the vocabulary.
 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vector.h"

#include <cblas.h>
#include <errno.h>
#include <math.h>

#define TOKENS 256
#define WORDS 1024
#define JOIN_TOKENS 256

struct part {
    float max, sum;
    int32_t best;
};

struct head {
    struct cpu *c;
    float *nll, *lse;
    int32_t *best;
    const float *x, *w;
    const int32_t *targets;
    size_t T, d, vocab;
    struct part *parts;   /* [word tiles, T] */
    float *target_logits; /* [T] */
};

static size_t target_offset(int T, int vocab) {
    return (size_t)T * n_tiles((size_t)vocab, WORDS) * sizeof(struct part);
}

size_t cpu_head_scratch(struct backend *b, int T, int d, int vocab) {
    (void)b;
    (void)d;
    if (T < 1 || vocab < 1)
        return 0;
    return target_offset(T, vocab) + (size_t)T * sizeof(float);
}

vector_clones static float sum_of_exp(const float *s, size_t n, float max) {
    float sum[N_LANES] = {0};
    size_t i = 0;

    for (; i + N_LANES <= n; i += N_LANES) {
        for (int l = 0; l < N_LANES; l++)
            sum[l] += vector_exp(s[i + l] - max);
    }
    for (; i < n; i++)
        sum[0] += vector_exp(s[i] - max);
    return lanes_sum(sum);
}

static struct part part_of(const float *logits, size_t n, size_t first_word) {
    size_t best = 0;

    for (size_t i = 1; i < n; i++) {
        if (logits[i] > logits[best])
            best = i;
    }
    return (struct part){logits[best], sum_of_exp(logits, n, logits[best]),
                         (int32_t)(first_word + best)};
}

static void head_tile(const void *arg, size_t task, int worker) {
    const struct head *op = arg;
    size_t token_tiles = n_tiles(op->T, TOKENS); /* neighbours share their part of w */
    size_t token = task % token_tiles * TOKENS, word_tile = task / token_tiles;
    size_t word = word_tile * WORDS;
    size_t tokens = MIN(TOKENS, op->T - token), words = MIN(WORDS, op->vocab - word);
    float *logits = cpu_scratch(op->c, worker);

    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)tokens, (int)words, (int)op->d, 1.0f,
                op->x + token * op->d, (int)op->d, op->w + word * op->d, (int)op->d, 0, logits,
                (int)words);
    for (size_t i = 0; i < tokens; i++) {
        size_t t = token + i, target = (size_t)op->targets[t];

        op->parts[word_tile * op->T + t] = part_of(logits + i * words, words, word);
        if (target >= word && target < word + words)
            op->target_logits[t] = logits[i * words + target - word];
    }
}

static void join_token(const struct head *op, size_t t) {
    struct part all = op->parts[t];
    double sum = 0;

    for (size_t tile = 1; tile < n_tiles(op->vocab, WORDS); tile++) {
        const struct part *part = &op->parts[tile * op->T + t];

        if (part->max > all.max) {
            all.max = part->max;
            all.best = part->best;
        }
    }
    for (size_t tile = 0; tile < n_tiles(op->vocab, WORDS); tile++) {
        const struct part *part = &op->parts[tile * op->T + t];

        sum += (double)part->sum * exp((double)part->max - (double)all.max);
    }
    op->best[t] = all.best;
    op->lse[t] = (float)((double)all.max + log(sum));
    op->nll[t] = (float)((double)all.max + log(sum) - (double)op->target_logits[t]);
}

static void join_tokens(const void *arg, size_t task, int worker) {
    const struct head *op = arg;
    size_t end = MIN(op->T, (task + 1) * JOIN_TOKENS);

    (void)worker;
    for (size_t t = task * JOIN_TOKENS; t < end; t++)
        join_token(op, t);
}

int cpu_head(struct backend *b, struct span nll, struct span lse, struct span best, struct span x,
             struct span w, struct span targets, int T, int d, int vocab, struct span scratch) {
    struct cpu *c = cpu_of(b);
    struct head op = {
        .c = c,
        .nll = (float *)nll.at,
        .lse = (float *)lse.at,
        .best = (int32_t *)best.at,
        .x = (float *)x.at,
        .w = (float *)w.at,
        .targets = (int32_t *)targets.at,
        .T = (size_t)T,
        .d = (size_t)d,
        .vocab = (size_t)vocab,
        .parts = (struct part *)scratch.at,
    };
    int64_t need = (int64_t)cpu_head_scratch(b, T, d, vocab) / 4;
    int r =
        cpu_check(c, "head", OPERAND(nll, float, T), OPERAND(lse, float, T),
                  OPERAND(best, int32_t, T), OPERAND(x, float, T, d), OPERAND(w, float, vocab, d),
                  OPERAND(targets, int32_t, T), OPERAND(scratch, float, need));

    if (r == 0)
        r = cpu_check_indices(c, "head", "targets", op.targets, op.T, vocab);
    if (r < 0)
        return r;
    op.target_logits = (float *)(scratch.at + target_offset(T, vocab));
    r = cpu_run(c, n_tiles(op.T, TOKENS) * n_tiles(op.vocab, WORDS),
                (size_t)TOKENS * WORDS * sizeof(float), head_tile, &op);
    if (r < 0)
        return r;
    return cpu_run(c, n_tiles(op.T, JOIN_TOKENS), 0, join_tokens, &op);
}
