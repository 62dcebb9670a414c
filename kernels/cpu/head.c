// SPDX-License-Identifier: Apache-2.0
/*
 * The language model's head, in tiles of TOKENS x WORDS logits that live in a thread's scratch.
 * Of each tile remain, per token, the largest logit, its word, and the sum of e^(logit - largest);
 * a second pass joins these in the order of the vocabulary. Two heads side by side leave one more
 * sum: what a tile adds to the Kullback-Leibler divergence. Each of the two computes what head()
 * would, to the bit.
 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vector.h"

#include <cblas.h>
#include <errno.h>
#include <math.h>

#define TOKENS 256
#define WORDS 1024
#define JOIN_TOKENS 256

/* What a tile says of a token. */
struct part {
    float max, sum;
    int32_t best;
};

/* One head: logits x w'. */
struct side {
    const float *x, *w;
    float *nll, *lse; /* lse: NULL when not asked for */
    int32_t *best;
    struct part *parts;   /* [word tiles, T] */
    float *target_logits; /* [T] */
};

struct head {
    struct cpu *c;
    const int32_t *targets;
    size_t T, d, vocab;
    struct side sides[2]; /* the second one for head_difference() alone */
    float *cross;         /* [word tiles, T]: sum of e^(base - its largest) * (base - other) */
    float *kl;
};

static size_t side_size(int T, int vocab) {
    size_t tiles = n_tiles((size_t)vocab, WORDS);

    return (size_t)T * (tiles * sizeof(struct part) + sizeof(float));
}

static void side_place(struct side *side, unsigned char *at, int T, int vocab) {
    side->parts = (struct part *)at;
    side->target_logits =
        (float *)(at + (size_t)T * n_tiles((size_t)vocab, WORDS) * sizeof(struct part));
}

size_t cpu_head_scratch(struct backend *b, int T, int d, int vocab) {
    (void)b;
    (void)d;
    return T < 1 || vocab < 1 ? 0 : side_size(T, vocab);
}

size_t cpu_head_difference_scratch(struct backend *b, int T, int d, int vocab) {
    (void)b;
    (void)d;
    if (T < 1 || vocab < 1)
        return 0;
    return 2 * side_size(T, vocab) + (size_t)T * n_tiles((size_t)vocab, WORDS) * sizeof(float);
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

vector_clones static float sum_of_cross(const float *base, const float *other, size_t n,
                                        float max) {
    float sum[N_LANES] = {0};
    size_t i = 0;

    for (; i + N_LANES <= n; i += N_LANES) {
        for (int l = 0; l < N_LANES; l++)
            sum[l] += vector_exp(base[i + l] - max) * (base[i + l] - other[i + l]);
    }
    for (; i < n; i++)
        sum[0] += vector_exp(base[i] - max) * (base[i] - other[i]);
    return lanes_sum(sum);
}

/* The first of the largest of @n values, NaN passed by; 0 when the first one is NaN. */
vector_clones static size_t largest_of(const float *s, size_t n) {
    float top = vector_max(s, n);
    size_t i;

    for (i = 0; i + N_LANES <= n; i += N_LANES) {
        int found = 0;

        for (int l = 0; l < N_LANES; l++)
            found |= s[i + l] == top;
        if (found)
            break;
    }
    for (; i < n; i++) {
        if (s[i] == top)
            return i;
    }
    return 0;
}

static struct part part_of(const float *logits, size_t n, size_t first_word) {
    size_t best = largest_of(logits, n);

    return (struct part){logits[best], sum_of_exp(logits, n, logits[best]),
                         (int32_t)(first_word + best)};
}

/* A tile of logits: tokens and words from the first on. */
struct tile {
    size_t token, word, tokens, words, number;
};

static struct tile tile_of(const struct head *op, size_t task) {
    size_t token_tiles = n_tiles(op->T, TOKENS); /* neighbours share their part of w */
    size_t token = task % token_tiles * TOKENS, number = task / token_tiles;
    size_t word = number * WORDS;

    return (struct tile){token, word, MIN(TOKENS, op->T - token), MIN(WORDS, op->vocab - word),
                         number};
}

/* The logits of one side's tile, and what remains of them. */
static void side_tile(const struct head *op, const struct side *side, const struct tile *tile,
                      float *logits) {
    size_t words = tile->words;

    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)tile->tokens, (int)words, (int)op->d,
                1.0f, side->x + tile->token * op->d, (int)op->d, side->w + tile->word * op->d,
                (int)op->d, 0, logits, (int)words);
    for (size_t i = 0; i < tile->tokens; i++) {
        size_t t = tile->token + i, target = (size_t)op->targets[t];

        side->parts[tile->number * op->T + t] = part_of(logits + i * words, words, tile->word);
        if (target >= tile->word && target < tile->word + words)
            side->target_logits[t] = logits[i * words + target - tile->word];
    }
}

static void head_tile(const void *arg, size_t task, int worker) {
    const struct head *op = arg;
    const struct tile tile = tile_of(op, task);

    side_tile(op, &op->sides[0], &tile, cpu_scratch(op->c, worker));
}

static void difference_tile(const void *arg, size_t task, int worker) {
    const struct head *op = arg;
    const struct tile tile = tile_of(op, task);
    float *base = cpu_scratch(op->c, worker), *other = base + (size_t)TOKENS * WORDS;
    size_t first = tile.number * op->T + tile.token;

    side_tile(op, &op->sides[0], &tile, base);
    side_tile(op, &op->sides[1], &tile, other);
    for (size_t i = 0; i < tile.tokens; i++)
        op->cross[first + i] = sum_of_cross(base + i * tile.words, other + i * tile.words,
                                            tile.words, op->sides[0].parts[first + i].max);
}

/* Joins a side's tiles for token @t. *ret_max: its largest logit. Return: its sum of exp, by it. */
static double join_side(const struct head *op, const struct side *side, size_t t, double *ret_max) {
    struct part all = side->parts[t];
    double sum = 0, lse;

    for (size_t tile = 1; tile < n_tiles(op->vocab, WORDS); tile++) {
        const struct part *part = &side->parts[tile * op->T + t];

        if (part->max > all.max) {
            all.max = part->max;
            all.best = part->best;
        }
    }
    for (size_t tile = 0; tile < n_tiles(op->vocab, WORDS); tile++) {
        const struct part *part = &side->parts[tile * op->T + t];

        sum += (double)part->sum * exp((double)part->max - (double)all.max);
    }
    lse = (double)all.max + log(sum);
    side->best[t] = all.best;
    side->nll[t] = (float)(lse - (double)side->target_logits[t]);
    if (side->lse)
        side->lse[t] = (float)lse;
    *ret_max = (double)all.max;
    return sum;
}

/* KL = sum p (base - other) + logsumexp(other) - logsumexp(base); rounding must not go below 0. */
static void join_difference(const struct head *op, size_t t) {
    double max, max_other, sum, sum_other, kl, cross = 0;

    sum = join_side(op, &op->sides[0], t, &max);
    sum_other = join_side(op, &op->sides[1], t, &max_other);
    for (size_t tile = 0; tile < n_tiles(op->vocab, WORDS); tile++) {
        size_t at = tile * op->T + t;

        cross += (double)op->cross[at] * exp((double)op->sides[0].parts[at].max - max);
    }
    kl = cross / sum + (max_other - max) + log(sum_other / sum);
    op->kl[t] = kl < 0 ? 0 : (float)kl; /* NaN stays */
}

static void join_tokens(const void *arg, size_t task, int worker) {
    const struct head *op = arg;
    size_t end = MIN(op->T, (task + 1) * JOIN_TOKENS);
    double max;

    (void)worker;
    for (size_t t = task * JOIN_TOKENS; t < end; t++) {
        if (op->kl)
            join_difference(op, t);
        else
            join_side(op, &op->sides[0], t, &max);
    }
}

static int run(const struct head *op) {
    size_t tile = (size_t)TOKENS * WORDS * sizeof(float);
    int r = cpu_run(op->c, n_tiles(op->T, TOKENS) * n_tiles(op->vocab, WORDS),
                    op->kl ? 2 * tile : tile, op->kl ? difference_tile : head_tile, op);

    return r < 0 ? r : cpu_run(op->c, n_tiles(op->T, JOIN_TOKENS), 0, join_tokens, op);
}

int cpu_head(struct backend *b, struct span nll, struct span lse, struct span best, struct span x,
             struct span w, struct span targets, int T, int d, int vocab, struct span scratch) {
    struct cpu *c = cpu_of(b);
    struct head op = {
        .c = c,
        .targets = (int32_t *)targets.at,
        .T = (size_t)T,
        .d = (size_t)d,
        .vocab = (size_t)vocab,
        .sides[0] = {.x = (float *)x.at,
                     .w = (float *)w.at,
                     .nll = (float *)nll.at,
                     .lse = (float *)lse.at,
                     .best = (int32_t *)best.at},
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
    side_place(&op.sides[0], scratch.at, T, vocab);
    return run(&op);
}

static struct side side_of(const struct head_side *side) {
    return (struct side){.x = (float *)side->x.at,
                         .w = (float *)side->w.at,
                         .nll = (float *)side->nll.at,
                         .best = (int32_t *)side->best.at};
}

int cpu_head_difference(struct backend *b, struct span kl, const struct head_side *base,
                        const struct head_side *other, struct span targets, int T, int d, int vocab,
                        struct span scratch) {
    struct cpu *c = cpu_of(b);
    struct head op = {
        .c = c,
        .targets = (int32_t *)targets.at,
        .T = (size_t)T,
        .d = (size_t)d,
        .vocab = (size_t)vocab,
        .sides = {side_of(base), side_of(other)},
        .kl = (float *)kl.at,
    };
    int64_t need = (int64_t)cpu_head_difference_scratch(b, T, d, vocab) / 4;
    int r = cpu_check(c, "head_difference", OPERAND(kl, float, T), OPERAND(base->x, float, T, d),
                      OPERAND(base->w, float, vocab, d), OPERAND(base->nll, float, T),
                      OPERAND(base->best, int32_t, T), OPERAND(other->x, float, T, d),
                      OPERAND(other->w, float, vocab, d), OPERAND(other->nll, float, T),
                      OPERAND(other->best, int32_t, T), OPERAND(targets, int32_t, T),
                      OPERAND(scratch, float, need));

    if (r == 0)
        r = cpu_check_indices(c, "head_difference", "targets", op.targets, op.T, vocab);
    if (r < 0)
        return r;
    side_place(&op.sides[0], scratch.at, T, vocab);
    side_place(&op.sides[1], scratch.at + side_size(T, vocab), T, vocab);
    op.cross = (float *)(scratch.at + 2 * side_size(T, vocab));
    return run(&op);
}
