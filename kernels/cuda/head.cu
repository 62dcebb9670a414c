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
 */
#include "kernels/cuda/device.cuh"

enum { HEAD_ROWS = 2048, HEAD_WORDS = 4096, HEAD_THREADS = 256, HEAD_LANES = 2 };

struct running {
    float largest, sum, target;
    int best;
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

__device__ __forceinline__ void fold(float &largest, float &sum, int &best, float their_largest,
                                     float their_sum, int their_best) {
    float m = fmaxf(largest, their_largest);

    if (their_largest > largest || (their_largest == largest && their_best < best))
        best = their_best;
    if (m > -INFINITY)
        sum = sum * __expf(largest - m) + their_sum * __expf(their_largest - m);
    largest = m;
}

/* One block a token; @first is the chunk's first word. After the last chunk the results. */
__global__ void __launch_bounds__(HEAD_THREADS)
    head_kernel(float *nll, float *lse, int *best_out, struct running *state,
                const float *__restrict__ logits, const int *__restrict__ targets, int first,
                int words, bool last) {
    __shared__ float all_largest[HEAD_THREADS / 32], all_sum[HEAD_THREADS / 32];
    __shared__ int all_best[HEAD_THREADS / 32];
    const float *row = logits + (size_t)blockIdx.x * words;
    float largest = -INFINITY, sum = 0.0f;
    int best = INT_MAX;

    for (int i = threadIdx.x; i < words; i += HEAD_THREADS)
        if (row[i] > largest) {
            largest = row[i];
            best = first + i;
        }
    for (int i = threadIdx.x; i < words; i += HEAD_THREADS)
        sum += __expf(row[i] - largest);
    for (int other = 1; other < 32; other *= 2)
        fold(largest, sum, best, __shfl_down_sync(0xffffffff, largest, other),
             __shfl_down_sync(0xffffffff, sum, other), __shfl_down_sync(0xffffffff, best, other));
    if (threadIdx.x % 32 == 0) {
        all_largest[threadIdx.x / 32] = largest;
        all_sum[threadIdx.x / 32] = sum;
        all_best[threadIdx.x / 32] = best;
    }
    __syncthreads();
    if (threadIdx.x)
        return;
    for (int i = 1; i < HEAD_THREADS / 32; i++)
        fold(largest, sum, best, all_largest[i], all_sum[i], all_best[i]);

    struct running run = {-INFINITY, 0.0f, 0.0f, INT_MAX};
    int target = targets[blockIdx.x] - first;

    if (first)
        run = state[blockIdx.x];
    fold(run.largest, run.sum, run.best, largest, sum, best);
    if (target >= 0 && target < words)
        run.target = row[target];
    state[blockIdx.x] = run;
    if (last) {
        float total = run.largest + logf(run.sum);

        lse[blockIdx.x] = total;
        nll[blockIdx.x] = total - run.target;
        best_out[blockIdx.x] = run.best == INT_MAX ? 0 : run.best;
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
