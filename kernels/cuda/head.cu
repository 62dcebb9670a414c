// SPDX-License-Identifier: Apache-2.0
/*
 * The head of the language model: nll, logsumexp and argmax of each token without all logits.
 *
 * A tile of at most 2048 tokens meets the vocabulary in chunks of 4096 words: a product into f32
 * logits (32 MiB, which the L2 cache mostly holds), then one pass that folds the chunk into each
 * token's running maximum, sum, argmax and target logit. Sums are formed in an order that only
 * the shape decides; ties of the argmax go to the lower index.
 * Tiles take turns on two lanes, so that the pass over one tile's logits runs beside the product
 * of the other's.
 * scratch, for each of the two: the logits of a tile and chunk, 16 bytes of state a token.
 * Two heads are compared tile by tile on one lane: the logits of both, then one pass over both.
 * Each sum of the one is formed as head() forms it, so nll and argmax have its bytes.
 */
#include "kernels/cuda/device.cuh"

enum { HEAD_ROWS = 2048, HEAD_WORDS = 4096, HEAD_THREADS = 256, HEAD_LANES = 2 };

/* What some logits of a token leave. */
struct tally {
    float largest;
    float sum;   /* of e^(logit - largest) */
    float cross; /* of e^(logit - largest) * (logit - the other head's), when asked for */
    int best;
};

/* What the chunks so far have left of a token. */
struct running {
    float largest, sum, target;
    int best;
};

struct running_pair {
    struct running base, other;
    float cross;
};

static size_t logits_size(int T, int vocab) {
    size_t size =
        bytes_of(4, {T < HEAD_ROWS ? T : HEAD_ROWS, vocab < HEAD_WORDS ? vocab : HEAD_WORDS});

    return size == SIZE_MAX ? size : (size + 255) / 256 * 256;
}

/* Bytes of scratch that a lane works in. */
static size_t lane_size(int T, int vocab) {
    size_t logits = logits_size(T, vocab);

    return logits == SIZE_MAX ? logits : logits + HEAD_ROWS * sizeof(struct running);
}

size_t cuda_head_scratch(struct backend *base, int T, int d, int vocab) {
    size_t size = lane_size(T, vocab);

    (void)base;
    (void)d;
    return size == SIZE_MAX || T <= HEAD_ROWS ? size : size * HEAD_LANES;
}

size_t cuda_head_difference_scratch(struct backend *base, int T, int d, int vocab) {
    size_t logits = logits_size(T, vocab);

    (void)base;
    (void)d;
    return logits == SIZE_MAX ? logits : 2 * logits + HEAD_ROWS * sizeof(struct running_pair);
}

template <bool CROSS>
__device__ __forceinline__ void fold(struct tally &mine, const struct tally &theirs) {
    float m = fmaxf(mine.largest, theirs.largest);

    if (theirs.largest > mine.largest ||
        (theirs.largest == mine.largest && theirs.best < mine.best))
        mine.best = theirs.best;
    if (m > -INFINITY) {
        float scale = __expf(mine.largest - m), their_scale = __expf(theirs.largest - m);

        mine.sum = mine.sum * scale + theirs.sum * their_scale;
        if (CROSS)
            mine.cross = mine.cross * scale + theirs.cross * their_scale;
    }
    mine.largest = m;
}

template <bool CROSS> __device__ __forceinline__ struct tally shuffle(struct tally t, int other) {
    t.largest = __shfl_down_sync(0xffffffff, t.largest, other);
    t.sum = __shfl_down_sync(0xffffffff, t.sum, other);
    if (CROSS)
        t.cross = __shfl_down_sync(0xffffffff, t.cross, other);
    t.best = __shfl_down_sync(0xffffffff, t.best, other);
    return t;
}

/*
 * A whole block on the @words logits of one token, the first of which is word @first; thread 0
 * gets the result. With CROSS, against the logits @other. @all: room for a tally a warp.
 */
template <bool CROSS>
__device__ struct tally fold_row(const float *__restrict__ row, const float *__restrict__ other,
                                 int first, int words, struct tally *all) {
    struct tally t = {-INFINITY, 0.0f, 0.0f, INT_MAX};

    for (int i = threadIdx.x; i < words; i += HEAD_THREADS)
        if (row[i] > t.largest) {
            t.largest = row[i];
            t.best = first + i;
        }
    for (int i = threadIdx.x; i < words; i += HEAD_THREADS) {
        float e = __expf(row[i] - t.largest);

        t.sum += e;
        if (CROSS)
            t.cross += e * (row[i] - other[i]);
    }
    for (int distance = 1; distance < 32; distance *= 2)
        fold<CROSS>(t, shuffle<CROSS>(t, distance));
    if (threadIdx.x % 32 == 0)
        all[threadIdx.x / 32] = t;
    __syncthreads();
    if (threadIdx.x == 0)
        for (int i = 1; i < HEAD_THREADS / 32; i++)
            fold<CROSS>(t, all[i]);
    return t;
}

/* Adds a chunk to what the chunks before it left; its own thread. */
template <bool CROSS>
__device__ __forceinline__ void advance(struct running &run, float &cross, const struct tally &t,
                                        const float *row, int target, int words) {
    struct tally all = {run.largest, run.sum, cross, run.best};

    fold<CROSS>(all, t);
    run.largest = all.largest;
    run.sum = all.sum;
    run.best = all.best;
    cross = all.cross;
    if (target >= 0 && target < words)
        run.target = row[target];
}

__device__ __forceinline__ struct running running_none(void) {
    return {-INFINITY, 0.0f, 0.0f, INT_MAX};
}

/* One block a token; @first is the chunk's first word. After the last chunk the results. */
__global__ void __launch_bounds__(HEAD_THREADS)
    head_kernel(float *nll, float *lse, int *best, struct running *state,
                const float *__restrict__ logits, const int *__restrict__ targets, int first,
                int words, bool last) {
    __shared__ struct tally all[HEAD_THREADS / 32];
    const float *row = logits + (size_t)blockIdx.x * words;
    struct tally t = fold_row<false>(row, nullptr, first, words, all);
    struct running run = running_none();
    float cross = 0.0f;

    if (threadIdx.x)
        return;
    if (first)
        run = state[blockIdx.x];
    advance<false>(run, cross, t, row, targets[blockIdx.x] - first, words);
    state[blockIdx.x] = run;
    if (last) {
        float total = run.largest + logf(run.sum);

        lse[blockIdx.x] = total;
        nll[blockIdx.x] = total - run.target;
        best[blockIdx.x] = run.best == INT_MAX ? 0 : run.best;
    }
}

struct side_args {
    const bf16 *x, *w;
    float *nll;
    int *best;
};

__device__ __forceinline__ void give_side(const struct side_args &side, const struct running &run) {
    side.nll[blockIdx.x] = run.largest + logf(run.sum) - run.target;
    side.best[blockIdx.x] = run.best == INT_MAX ? 0 : run.best;
}

/* The same for two heads, with the divergence of the second from the first. */
__global__ void __launch_bounds__(HEAD_THREADS)
    difference_kernel(float *kl, struct side_args base, struct side_args other,
                      struct running_pair *state, const float *__restrict__ base_logits,
                      const float *__restrict__ other_logits, const int *__restrict__ targets,
                      int first, int words, bool last) {
    __shared__ struct tally all[2][HEAD_THREADS / 32];
    const float *row = base_logits + (size_t)blockIdx.x * words;
    const float *other_row = other_logits + (size_t)blockIdx.x * words;
    struct tally t = fold_row<true>(row, other_row, first, words, all[0]);
    struct tally other_t = fold_row<false>(other_row, nullptr, first, words, all[1]);
    struct running_pair run = {running_none(), running_none(), 0.0f};
    float none = 0.0f;

    if (threadIdx.x)
        return;
    if (first)
        run = state[blockIdx.x];
    advance<true>(run.base, run.cross, t, row, targets[blockIdx.x] - first, words);
    advance<false>(run.other, none, other_t, other_row, targets[blockIdx.x] - first, words);
    state[blockIdx.x] = run;
    if (last) {
        double sum = run.base.sum, shift = (double)run.other.largest - run.base.largest;

        give_side(base, run.base);
        give_side(other, run.other);
        /* sum p (base - other) + logsumexp(other) - logsumexp(base); rounding stays at 0 */
        double divergence = run.cross / sum + shift + log(run.other.sum / sum);

        kl[blockIdx.x] = divergence < 0.0 ? 0.0f : (float)divergence; /* NaN stays */
    }
}

struct head_args {
    float *nll, *lse;
    int *best;
    const bf16 *x, *w;
    const int *targets;
    int d, vocab;
};

/* Tokens t .. t + rows - 1, on one lane. */
static int head_tile(struct cuda_backend *b, struct lane *lane, const struct head_args *args, int t,
                     int rows, float *logits, struct running *state) {
    for (int first = 0; first < args->vocab; first += HEAD_WORDS) {
        int words = args->vocab - first < HEAD_WORDS ? args->vocab - first : HEAD_WORDS;

        TRY(linear_on(b, lane, logits, CUDA_R_32F, args->x + (size_t)t * args->d,
                      args->w + (size_t)first * args->d, rows, args->d, words, 0.0f));
        head_kernel<<<rows, HEAD_THREADS, 0, lane->stream>>>(
            args->nll + t, args->lse + t, args->best + t, state, logits, args->targets + t, first,
            words, first + words == args->vocab);
        LAUNCH_TRY(b);
    }
    return 0;
}

int cuda_head(struct backend *base, struct span nll, struct span lse, struct span best,
              struct span x, struct span w, struct span targets, int T, int d, int vocab,
              struct span scratch) {
    struct cuda_backend *b = cuda_of(base);
    struct head_args args = {(float *)nll.at,
                             (float *)lse.at,
                             (int *)best.at,
                             (const bf16 *)x.at,
                             (const bf16 *)w.at,
                             (const int *)targets.at,
                             d,
                             vocab};

    TRY(op_begin(b, "head", "T d vocab", T, d, vocab));
    if (T < 1 || d < 1 || vocab < 1)
        return status_invalid(b, "empty");
    TRY(op_needs(b, {{"nll", nll, bytes_of(4, {T}), 4},
                     {"lse", lse, bytes_of(4, {T}), 4},
                     {"best", best, bytes_of(4, {T}), 4},
                     {"x", x, bytes_of(2, {T, d}), 2},
                     {"w", w, bytes_of(2, {vocab, d}), 2},
                     {"targets", targets, bytes_of(4, {T}), 4},
                     {"scratch", scratch, cuda_head_scratch(base, T, d, vocab), 16}}));
    TRY(lanes_fork(b));
    for (int t = 0, turn = 0; t < T; t += HEAD_ROWS, turn = (turn + 1) % HEAD_LANES) {
        int rows = T - t < HEAD_ROWS ? T - t : HEAD_ROWS;
        unsigned char *at = scratch.at + turn * lane_size(T, vocab);

        TRY(head_tile(b, &b->lanes[turn], &args, t, rows, (float *)at,
                      (struct running *)(at + logits_size(T, vocab))));
    }
    return lanes_join(b);
}

/* Tokens t .. t + rows - 1 of both heads. */
static int difference_tile(struct cuda_backend *b, float *kl, const struct side_args sides[2],
                           const int *targets, int t, int rows, int d, int vocab, float *logits[2],
                           struct running_pair *state) {
    struct side_args from[2];

    for (int i = 0; i < 2; i++)
        from[i] = {sides[i].x + (size_t)t * d, sides[i].w, sides[i].nll + t, sides[i].best + t};
    for (int first = 0; first < vocab; first += HEAD_WORDS) {
        int words = vocab - first < HEAD_WORDS ? vocab - first : HEAD_WORDS;

        for (int i = 0; i < 2; i++)
            TRY(linear_on(b, &b->lanes[0], logits[i], CUDA_R_32F, from[i].x,
                          from[i].w + (size_t)first * d, rows, d, words, 0.0f));
        difference_kernel<<<rows, HEAD_THREADS, 0, b->lanes[0].stream>>>(
            kl + t, from[0], from[1], state, logits[0], logits[1], targets + t, first, words,
            first + words == vocab);
        LAUNCH_TRY(b);
    }
    return 0;
}

int cuda_head_difference(struct backend *backend, struct span kl, const struct head_side *base,
                         const struct head_side *other, struct span targets, int T, int d,
                         int vocab, struct span scratch) {
    struct cuda_backend *b = cuda_of(backend);
    const struct head_side *given[2] = {base, other};
    struct side_args sides[2];
    float *logits[2];

    TRY(op_begin(b, "head_difference", "T d vocab", T, d, vocab));
    if (T < 1 || d < 1 || vocab < 1)
        return status_invalid(b, "empty");
    TRY(op_needs(b,
                 {{"kl", kl, bytes_of(4, {T}), 4},
                  {"targets", targets, bytes_of(4, {T}), 4},
                  {"scratch", scratch, cuda_head_difference_scratch(backend, T, d, vocab), 16}}));
    for (int i = 0; i < 2; i++) {
        TRY(op_needs(b, {{"nll", given[i]->nll, bytes_of(4, {T}), 4},
                         {"best", given[i]->best, bytes_of(4, {T}), 4},
                         {"x", given[i]->x, bytes_of(2, {T, d}), 2},
                         {"w", given[i]->w, bytes_of(2, {vocab, d}), 2}}));
        sides[i] = {(const bf16 *)given[i]->x.at, (const bf16 *)given[i]->w.at,
                    (float *)given[i]->nll.at, (int *)given[i]->best.at};
        logits[i] = (float *)(scratch.at + i * logits_size(T, vocab));
    }
    for (int t = 0; t < T; t += HEAD_ROWS)
        TRY(difference_tile(b, (float *)kl.at, sides, (const int *)targets.at, t,
                            T - t < HEAD_ROWS ? T - t : HEAD_ROWS, d, vocab, logits,
                            (struct running_pair *)(scratch.at + 2 * logits_size(T, vocab))));
    return 0;
}
