// SPDX-License-Identifier: Apache-2.0
/*
 * The mixture of experts around its products: route(), dispatch(), combine().
 *
 * Numerics: router logits, softmax and mixing in f32. Ties among experts go to the lower index.
 * dispatch() is a counting sort: every tile of 256 tokens marks its experts in a bit matrix (the
 * order of the atomic ors does not matter), counts are popcounts, and a slot's rank is the number
 * of bits before its own. So the order is (expert, token), whatever the schedule.
 * Memory: logits and counts go through the backend's small memory, tile by tile.
 */
#include "kernels/cuda/device.cuh"

#include <string.h>

enum { TILE = 256, TILE_WORDS = TILE / 32, MAX_EXPERTS = 1024, MAX_TOP_K = 32 };

/*
 * Of a warp's values, EACH a lane, the @top_k largest; of equal ones the lower index. Bit i of the
 * result: value i of this lane. What is at most -2 is never taken.
 */
template <int EACH>
__device__ __forceinline__ unsigned take_largest(const float p[EACH], int top_k, int lane) {
    unsigned taken = 0;

    for (int k = 0; k < top_k; k++) {
        float best = -2.0f;
        int at = MAX_EXPERTS;

#pragma unroll
        for (int i = 0; i < EACH; i++)
            if (!(taken >> i & 1) && p[i] > best) {
                best = p[i];
                at = lane + 32 * i;
            }
        for (int other = 16; other; other >>= 1) {
            float their = __shfl_xor_sync(0xffffffff, best, other);
            int their_at = __shfl_xor_sync(0xffffffff, at, other);

            if (their > best || (their == best && their_at < at)) {
                best = their;
                at = their_at;
            }
        }
        if (at % 32 == lane && at < MAX_EXPERTS)
            taken |= 1u << at / 32;
    }
    return taken;
}

/*
 * One warp a token; lane l holds experts l, l + 32, ...: EACH of them. The k largest are taken one
 * by one; their ranks by expert are popcounts of the ballots.
 */
template <int EACH>
__global__ void top_k_kernel(int *experts, float *weights, const float *logits, int T,
                             int n_experts, int top_k, bool norm) {
    int t = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32, before = 0;
    float p[EACH], largest = -INFINITY, sum = 0.0f, taken_sum = 0.0f;
    unsigned taken; /* bit i: expert lane + 32 i */

    if (t >= T)
        return;
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        int e = lane + 32 * i;

        p[i] = e < n_experts ? logits[(size_t)t * n_experts + e] : -INFINITY;
        largest = fmaxf(largest, p[i]);
    }
    for (int other = 16; other; other >>= 1)
        largest = fmaxf(largest, __shfl_xor_sync(0xffffffff, largest, other));
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        bool there = lane + 32 * i < n_experts;

        p[i] = there ? expf(p[i] - largest) : 0.0f;
        sum += p[i];
        /* what is no number comes after all numbers, what is no expert never */
        p[i] = !there ? -3.0f : isnan(p[i]) ? -1.0f : p[i];
    }
    sum = warp_sum(sum);
    taken = take_largest<EACH>(p, top_k, lane);
#pragma unroll
    for (int i = 0; i < EACH; i++)
        taken_sum += taken >> i & 1 ? p[i] : 0.0f;
    /* one that is no number makes all weights so */
    sum = norm && !isnan(sum) ? warp_sum(taken_sum) : sum;
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        unsigned ballot = __ballot_sync(0xffffffff, taken >> i & 1);
        int rank = before + __popc(ballot & ((1u << lane) - 1));

        if (taken >> i & 1 && rank < top_k) {
            experts[(size_t)t * top_k + rank] = lane + 32 * i;
            weights[(size_t)t * top_k + rank] = p[i] / sum;
        }
        before += __popc(ballot);
    }
}

static void launch_top_k(cudaStream_t stream, int *experts, float *weights, const float *logits,
                         int T, int n_experts, int top_k, bool norm) {
    unsigned grid = blocks_for(T, 4);

    if (n_experts <= 64)
        top_k_kernel<2>
            <<<grid, 128, 0, stream>>>(experts, weights, logits, T, n_experts, top_k, norm);
    else if (n_experts <= 256)
        top_k_kernel<8>
            <<<grid, 128, 0, stream>>>(experts, weights, logits, T, n_experts, top_k, norm);
    else
        top_k_kernel<32>
            <<<grid, 128, 0, stream>>>(experts, weights, logits, T, n_experts, top_k, norm);
}

int cuda_route(struct backend *base, struct span experts, struct span weights, struct span x,
               struct span w, int T, int d, int n_experts, int top_k, bool norm) {
    struct cuda_backend *b = cuda_of(base);
    float *logits = (float *)b->small;
    int tile;

    TRY(op_begin(b, "route", "T d n_experts top_k", T, d, n_experts, top_k));
    if (T < 1 || d < 1 || top_k < 1 || top_k > n_experts || n_experts > MAX_EXPERTS)
        return status_invalid(b, "at most %d experts, at least one token", MAX_EXPERTS);
    TRY(op_needs(b, {{"experts", experts, bytes_of(4, {T, top_k}), 4},
                     {"weights", weights, bytes_of(4, {T, top_k}), 4},
                     {"x", x, bytes_of(2, {T, d}), 2},
                     {"w", w, bytes_of(2, {n_experts, d}), 2}}));
    tile = SMALL_SIZE / (4 * n_experts);
    for (int t = 0; t < T; t += tile) {
        int rows = T - t < tile ? T - t : tile;

        TRY(linear_on(b, &b->lanes[0], logits, CUDA_R_32F, (bf16 *)x.at + (size_t)t * d, w.at, rows,
                      d, n_experts, 0.0f));
        launch_top_k(b->lanes[0].stream, (int *)experts.at + (size_t)t * top_k,
                     (float *)weights.at + (size_t)t * top_k, logits, rows, n_experts, top_k, norm);
        LAUNCH_TRY(b);
    }
    return 0;
}

/* Marks [expert][word of the tile] in shared memory; all threads of the block must call it. */
__device__ void mark_tile(unsigned *marks, const int *experts, int T, int n_experts, int top_k) {
    int t = blockIdx.x * TILE + threadIdx.x;

    for (int i = threadIdx.x; i < n_experts * TILE_WORDS; i += TILE)
        marks[i] = 0;
    __syncthreads();
    if (t < T)
        for (int j = 0; j < top_k; j++) {
            unsigned e = experts[(size_t)t * top_k + j];

            if (e < (unsigned)n_experts)
                atomicOr(&marks[e * TILE_WORDS + threadIdx.x / 32], 1u << threadIdx.x % 32);
        }
    __syncthreads();
}

/* counts [n_experts, n_tiles] */
__global__ void count_kernel(int *counts, const int *experts, int T, int n_experts, int top_k) {
    extern __shared__ unsigned marks[];

    mark_tile(marks, experts, T, n_experts, top_k);
    for (int e = threadIdx.x; e < n_experts; e += TILE) {
        int count = 0;

        for (int word = 0; word < TILE_WORDS; word++)
            count += __popc(marks[e * TILE_WORDS + word]);
        counts[(size_t)e * gridDim.x + blockIdx.x] = count;
    }
}

/* Exclusive sums of @n counts in place, one block; each expert's first one goes to offsets. */
__global__ void scan_kernel(int *counts, int *offsets, int n_experts, int n_tiles) {
    __shared__ int warps[32], carry;
    int n = n_experts * n_tiles, lane = threadIdx.x % 32, warp = threadIdx.x / 32;

    if (!threadIdx.x)
        carry = 0;
    __syncthreads();
    for (int first = 0; first < n; first += blockDim.x) {
        int i = first + threadIdx.x, value = i < n ? counts[i] : 0, sum = value;

        for (int step = 1; step < 32; step *= 2) {
            int other = __shfl_up_sync(0xffffffff, sum, step);

            sum += lane >= step ? other : 0;
        }
        if (lane == 31)
            warps[warp] = sum;
        __syncthreads();
        if (!warp) {
            int total = warps[lane];

            for (int step = 1; step < 32; step *= 2) {
                int other = __shfl_up_sync(0xffffffff, total, step);

                total += lane >= step ? other : 0;
            }
            warps[lane] = total;
        }
        __syncthreads();
        sum += carry + (warp ? warps[warp - 1] : 0) - value;
        if (i < n) {
            counts[i] = sum;
            if (i % n_tiles == 0)
                offsets[i / n_tiles] = sum;
        }
        __syncthreads();
        if (!threadIdx.x)
            carry += warps[31];
        __syncthreads();
    }
    if (!threadIdx.x)
        offsets[n_experts] = carry;
}

__global__ void place_kernel(int *order, int *position, const int *starts, const int *experts,
                             int T, int n_experts, int top_k) {
    extern __shared__ unsigned marks[];
    int t = blockIdx.x * TILE + threadIdx.x, word = threadIdx.x / 32;

    mark_tile(marks, experts, T, n_experts, top_k);
    if (t >= T)
        return;
    for (int j = 0; j < top_k; j++) {
        unsigned e = experts[(size_t)t * top_k + j];
        int slot;

        if (e >= (unsigned)n_experts)
            continue;
        slot = starts[(size_t)e * gridDim.x + blockIdx.x];
        for (int i = 0; i < word; i++)
            slot += __popc(marks[e * TILE_WORDS + i]);
        slot += __popc(marks[e * TILE_WORDS + word] & ((1u << threadIdx.x % 32) - 1));
        order[slot] = t;
        position[(size_t)t * top_k + j] = slot;
    }
}

int cuda_dispatch(struct backend *base, struct span order, struct span position, int32_t *offsets,
                  struct span experts, int T, int n_experts, int top_k) {
    struct cuda_backend *b = cuda_of(base);
    cudaStream_t stream = b->lanes[0].stream;
    cudaEvent_t counted = b->lanes[0].done; /* no other lane waits for it */
    unsigned tiles = blocks_for(T, TILE);
    size_t shared = (size_t)n_experts * TILE_WORDS * 4, counts_size;
    int *counts = (int *)b->small, *starts = (int *)(b->small + SMALL_SIZE - 8192);

    TRY(op_begin(b, "dispatch", "T n_experts top_k", T, n_experts, top_k));
    counts_size = bytes_of(4, {n_experts, (long)tiles});
    if (T < 1 || n_experts < 1 || n_experts > MAX_EXPERTS || top_k < 1 || top_k > n_experts ||
        counts_size > SMALL_SIZE - 8192)
        return status_invalid(b, "at most %d experts and fewer tokens", MAX_EXPERTS);
    TRY(op_needs(b, {{"order", order, bytes_of(4, {T, top_k}), 4},
                     {"position", position, bytes_of(4, {T, top_k}), 4},
                     {"experts", experts, bytes_of(4, {T, top_k}), 4}}));
    count_kernel<<<tiles, TILE, shared, stream>>>(counts, (const int *)experts.at, T, n_experts,
                                                  top_k);
    LAUNCH_TRY(b);
    scan_kernel<<<1, 1024, 0, stream>>>(counts, starts, n_experts, (int)tiles);
    LAUNCH_TRY(b);
    CUDA_TRY(b, cudaMemcpyAsync(b->pinned, starts, 4 * ((size_t)n_experts + 1),
                                cudaMemcpyDeviceToHost, stream));
    CUDA_TRY(b, cudaEventRecord(counted, stream));
    place_kernel<<<tiles, TILE, shared, stream>>>((int *)order.at, (int *)position.at, counts,
                                                  (const int *)experts.at, T, n_experts, top_k);
    LAUNCH_TRY(b);
    /* the caller is on its way to the products while slots are given out */
    CUDA_TRY(b, cudaEventSynchronize(counted));
    memcpy(offsets, b->pinned, 4 * ((size_t)n_experts + 1));
    return 0;
}

/* One block a token. Reads each chosen row once, 16 bytes a thread. */
__global__ void combine_kernel(bf16 *x, const bf16 *__restrict__ y,
                               const int *__restrict__ position, const float *__restrict__ weights,
                               int d, int top_k, long n_slots, bool aligned) {
    size_t t = blockIdx.x;

    for (int i = threadIdx.x * 8; i < d; i += blockDim.x * 8) {
        float sum[8] = {}, v[8];

#pragma unroll 4
        for (int j = 0; j < top_k; j++) {
            long slot = position[t * top_k + j];
            float weight = weights[t * top_k + j];

            if (slot < 0 || slot >= n_slots)
                continue;
            load8(v, y + slot * d + i, d - i, aligned);
#pragma unroll
            for (int k = 0; k < 8; k++)
                sum[k] += weight * v[k];
        }
        load8(v, x + t * d + i, d - i, aligned);
#pragma unroll
        for (int k = 0; k < 8; k++)
            v[k] += sum[k];
        store8(x + t * d + i, v, d - i, aligned);
    }
}

int cuda_combine(struct backend *base, struct span x, struct span y, struct span position,
                 struct span weights, int T, int d, int top_k) {
    struct cuda_backend *b = cuda_of(base);

    TRY(op_begin(b, "combine", "T d top_k", T, d, top_k));
    TRY(op_needs(b, {{"x", x, bytes_of(2, {T, d}), 2},
                     {"y", y, bytes_of(2, {T, top_k, d}), 2},
                     {"position", position, bytes_of(4, {T, top_k}), 4},
                     {"weights", weights, bytes_of(4, {T, top_k}), 4}}));
    if (!T || !d)
        return 0;
    combine_kernel<<<T, d >= 2048 ? 256 : 128, 0, b->lanes[0].stream>>>(
        (bf16 *)x.at, (const bf16 *)y.at, (const int *)position.at, (const float *)weights.at, d,
        top_k, (long)T * top_k, d % 8 == 0 && aligned16(x.at) && aligned16(y.at));
    LAUNCH_TRY(b);
    return 0;
}
