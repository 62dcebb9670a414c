// SPDX-License-Identifier: Apache-2.0
/*
 * Causal softmax attention on Hopper, head_dim 64 and 128 (arXiv 2407.08608, section 3).
 *
 * A block owns a multiprocessor: one thread copies tiles to shared memory, ahead of two
 * warpgroups that compute. A task is 128 queries of one head, 64 for a warpgroup, which walks the
 * keys in tiles of 128, from the diagonal down. The scores of a tile are formed while the values
 * of the one before are added, and the softmax of one warpgroup runs beside the products of the
 * other: they take turns. Blocks take the next task when they are done with one, window by window
 * for the sake of the L2 cache, within one the long rows of keys first.
 *
 * Numerics: those of kernels/cuda/attention.cu. Products of bf16 are summed in f32; the softmax
 * runs in f32 in base 2; its weights are rounded to bf16 for the second product, its sum is not. A
 * task's sums have a fixed order, whichever block takes it.
 * Memory: 2 tiles of queries, keys and values each, 192 KiB of shared memory with head_dim 128; one
 * word of b->small. 240 registers for each thread of a warpgroup that computes.
 */
#include "kernels/cuda/hopper/hopper.cuh"

enum {
    GROUPS = 2,              /* warpgroups that compute */
    ROWS = 64,               /* queries of a warpgroup; rows of a box */
    QUERIES = GROUPS * ROWS, /* of a task */
    KEYS = 128,              /* of a tile; tasks and tiles meet at the diagonal */
    SLOTS = 2,
    THREADS = (1 + GROUPS) * WARPGROUP,
    NO_TASK = -1,
};
static_assert(QUERIES == KEYS, "only the first tile of a task is masked");

struct hopper_args {
    bf16 *y;
    int *taken; /* tasks that were taken beyond each block's first; 0 at first */
    int n_tasks, n_blocks, seqlen, n_heads, n_kv_heads;
    float scale; /* log2(e) / sqrt(head_dim) */
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

struct task {
    int window, head, first, n_tiles; /* first: the position of query 0 */
};

__device__ __forceinline__ struct task task_of(const struct hopper_args &args, int i) {
    struct task task;

    task.head = i % args.n_heads;
    i /= args.n_heads;
    task.n_tiles = args.n_blocks - i % args.n_blocks;
    task.first = (task.n_tiles - 1) * QUERIES;
    task.window = i / args.n_blocks;
    return task;
}

/* -------- shared memory -------- */

/* Barriers of SLOTS slots each: full, when a tile is there; free, when no warp reads it. */
enum { Q_FULL, Q_FREE, K_FULL, K_FREE, V_FULL, V_FREE, N_BARRIERS };

template <int HD> struct places {
    enum { TILE = KEYS * HD * 2, BARRIERS = 3 * SLOTS * TILE };
    enum { TASKS = BARRIERS + N_BARRIERS * SLOTS * 8, END = TASKS + SLOTS * 4 };
    unsigned base;

    __device__ __forceinline__ unsigned q(int slot) const {
        return base + slot * TILE;
    }
    __device__ __forceinline__ unsigned k(int slot) const {
        return base + (SLOTS + slot) * TILE;
    }
    __device__ __forceinline__ unsigned v(int slot) const {
        return base + (2 * SLOTS + slot) * TILE;
    }
    __device__ __forceinline__ unsigned barrier(int which, int slot) const {
        return base + BARRIERS + (which * SLOTS + slot) * 8;
    }
    /* The task whose queries are in that slot; it comes and goes with them. */
    __device__ __forceinline__ int *task(int slot) const {
        return (int *)__cvta_shared_to_generic(base + TASKS) + slot;
    }
};

template <int HD> __device__ __forceinline__ void start_barriers(const struct places<HD> &at) {
    for (int slot = 0; slot < SLOTS; slot++)
        for (int which = 0; which < N_BARRIERS; which += 2) {
            barrier_init(at.barrier(which, slot), 1);
            barrier_init(at.barrier(which + 1, slot), GROUPS * 4); /* by every warp */
        }
    barrier_init_done();
}

/* -------- the thread that copies -------- */

/* A tile [128, HD] of a head, from @row on; rows past the window's end are 0. */
template <int HD>
__device__ __forceinline__ void copy_tile(unsigned to, const CUtensorMap *map, unsigned barrier,
                                          int head, int row, int window) {
    barrier_expect(barrier, places<HD>::TILE);
#pragma unroll
    for (int panel = 0; panel < HD / PANEL; panel++)
#pragma unroll
        for (int i = 0; i < KEYS; i += ROWS)
            copy_box(to + (panel * KEYS + i) * PANEL_ROW, map, barrier, panel * PANEL, head,
                     row + i, window);
}

/* The warpgroups add a tile's values after they formed the scores of the next one. */
template <int HD>
__device__ __forceinline__ void copy_all(const struct places<HD> &at, const CUtensorMap *map,
                                         const struct hopper_args &args) {
    struct ring_place<SLOTS> q = {0, 1}, k = {0, 1}, v = {
        0, 1
    };
    int i = blockIdx.x, next;

    for (; i < args.n_tasks; i = next, q.advance()) {
        struct task task = task_of(args, i);
        int keys = args.n_heads + task.head / (args.n_heads / args.n_kv_heads);
        int values = keys + args.n_kv_heads;

        barrier_wait(at.barrier(Q_FREE, q.slot), q.turn);
        *at.task(q.slot) = i;
        copy_tile<HD>(at.q(q.slot), map, at.barrier(Q_FULL, q.slot), task.head, task.first,
                      task.window);
        next = (int)gridDim.x + atomicAdd(args.taken, 1);
        for (int tile = task.n_tiles; tile >= 0; tile--) {
            if (tile > 0) {
                barrier_wait(at.barrier(K_FREE, k.slot), k.turn);
                copy_tile<HD>(at.k(k.slot), map, at.barrier(K_FULL, k.slot), keys,
                              (tile - 1) * KEYS, task.window);
                k.advance();
            }
            if (tile < task.n_tiles) {
                barrier_wait(at.barrier(V_FREE, v.slot), v.turn);
                copy_tile<HD>(at.v(v.slot), map, at.barrier(V_FULL, v.slot), values, tile * KEYS,
                              task.window);
                v.advance();
            }
        }
    }
    barrier_wait(at.barrier(Q_FREE, q.slot), q.turn);
    *at.task(q.slot) = NO_TASK;
    barrier_arrive(at.barrier(Q_FULL, q.slot));
}

/* -------- a tile in a warpgroup -------- */

/* s [64, KEYS] = q k' */
template <int HD>
__device__ __forceinline__ void form_scores(float (&s)[KEYS / 2], unsigned q, unsigned k) {
    uint64_t a = describe(q), b = describe(k);

    products_begin();
#pragma unroll
    for (int d = 0; d < HD; d += 16) {
        int at = (d / PANEL * KEYS * PANEL_ROW + d % PANEL * 2) >> 4;

        multiply(s, a + at, b + at, d > 0);
    }
    products_end();
}

/* o [64, HD] = p v, added to what is there with @add */
template <int HD>
__device__ __forceinline__ void add_values(float (&o)[HD / 2], const unsigned (&p)[KEYS / 4],
                                           unsigned v, bool add) {
    uint64_t b = describe(v, KEYS * PANEL_ROW);

    products_begin();
#pragma unroll
    for (int j = 0; j < KEYS; j += 16)
        multiply_from_registers(o, p + j / 4, b + (j * PANEL_ROW >> 4), add || j > 0);
    products_end();
}

/* Scores above the diagonal become -inf; @row: the thread's row 0 of the tile, @column likewise. */
__device__ __forceinline__ void mask_scores(float (&s)[KEYS / 2], int row, int column) {
#pragma unroll
    for (int i = 0; i < KEYS / 2; i++)
        if (column + i / 4 * 8 + i % 2 > row + i % 4 / 2 * 8)
            s[i] = -INFINITY;
}

__device__ __forceinline__ float exp2_fast(float x) {
    float y;

    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* Two rows of a thread, 8 apart. */
struct rows {
    float largest[2], sum[2]; /* sum: of the thread's own columns */
    float shrink[2];          /* what the outputs so far are to be multiplied by */
};

/* Scores to weights against the rows' new maxima. */
__device__ __forceinline__ void soften(float (&s)[KEYS / 2], struct rows &rows, float scale) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float now = rows.largest[h], base;

#pragma unroll
        for (int j = h * 2; j < KEYS / 2; j += 4)
            now = fmaxf(now, fmaxf(s[j], s[j + 1]));
        now = fmaxf(now, __shfl_xor_sync(0xffffffff, now, 1));
        now = fmaxf(now, __shfl_xor_sync(0xffffffff, now, 2));
        base = now == -INFINITY ? 0.0f : now * scale;
        rows.shrink[h] = exp2_fast(rows.largest[h] * scale - base);
        rows.largest[h] = now;
        rows.sum[h] *= rows.shrink[h];
#pragma unroll
        for (int j = h * 2; j < KEYS / 2; j += 4) {
            s[j] = exp2_fast(s[j] * scale - base);
            s[j + 1] = exp2_fast(s[j + 1] * scale - base);
            rows.sum[h] += s[j] + s[j + 1];
        }
    }
}

__device__ __forceinline__ unsigned pack_bf16(float lo, float hi) {
    __nv_bfloat162 pair = __floats2bfloat162_rn(lo, hi);

    return *reinterpret_cast<unsigned *>(&pair);
}

/* A thread's scores are in the places that the next product wants them in. */
__device__ __forceinline__ void pack_weights(unsigned (&p)[KEYS / 4], const float (&s)[KEYS / 2]) {
#pragma unroll
    for (int i = 0; i < KEYS / 4; i++)
        p[i] = pack_bf16(s[2 * i], s[2 * i + 1]);
}

template <int HD>
__device__ __forceinline__ void shrink_outputs(float (&o)[HD / 2], const struct rows &rows) {
    /* after the first few tiles most maxima stay */
    if (!__any_sync(0xffffffff, rows.shrink[0] != 1.0f || rows.shrink[1] != 1.0f))
        return;
#pragma unroll
    for (int i = 0; i < HD / 2; i++)
        o[i] *= rows.shrink[i % 4 / 2];
}

/* -------- results -------- */

/* Of 4 lanes with 4 words each, lane c gets word c of every lane. */
__device__ __forceinline__ uint4 transpose_words(const unsigned (&w)[4], int c) {
    bool odd = c & 1, high = c & 2;
    unsigned a0 = __shfl_xor_sync(0xffffffff, odd ? w[0] : w[1], 1);
    unsigned a1 = __shfl_xor_sync(0xffffffff, odd ? w[2] : w[3], 1);
    unsigned b0 = odd ? a0 : w[0], b1 = odd ? w[1] : a0;
    unsigned b2 = odd ? a1 : w[2], b3 = odd ? w[3] : a1;

    a0 = __shfl_xor_sync(0xffffffff, high ? b0 : b2, 2);
    a1 = __shfl_xor_sync(0xffffffff, high ? b1 : b3, 2);
    return high ? make_uint4(a0, a1, b2, b3) : make_uint4(b0, b1, a0, a1);
}

template <int HD>
__device__ __forceinline__ void store_outputs(const struct hopper_args &args,
                                              const struct task &task, const float (&o)[HD / 2],
                                              const struct rows &rows, int row, int lane) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
        int t = task.first + row + h * 8;
        bf16 *y =
            args.y + (((size_t)task.window * args.seqlen + t) * args.n_heads + task.head) * HD;
        float total = rows.sum[h];

        total += __shfl_xor_sync(0xffffffff, total, 1);
        total += __shfl_xor_sync(0xffffffff, total, 2);
        total = 1.0f / total;
#pragma unroll
        for (int d = 0; d < HD / 8; d += 4) { /* 16 bytes a lane */
            unsigned words[4];
            uint4 chunk;

#pragma unroll
            for (int i = 0; i < 4; i++)
                words[i] =
                    pack_bf16(o[(d + i) * 4 + h * 2] * total, o[(d + i) * 4 + h * 2 + 1] * total);
            chunk = transpose_words(words, lane % 4);
            if (t < args.seqlen)
                *reinterpret_cast<uint4 *>(y + (d + lane % 4) * 8) = chunk;
        }
    }
}

/* -------- the warpgroups -------- */

/* Waits for the turn of @group to start products. Group 0 begins. */
__device__ __forceinline__ void turn_wait(int group) {
    asm volatile("bar.sync %0, %1;\n" ::"r"(1 + group), "n"(GROUPS * WARPGROUP) : "memory");
}

__device__ __forceinline__ void turn_pass(int group) {
    asm volatile("bar.arrive %0, %1;\n" ::"r"(1 + (group ^ 1)), "n"(GROUPS * WARPGROUP) : "memory");
}

/* This warp reads the slot no more. */
template <int HD>
__device__ __forceinline__ void leave(const struct places<HD> &at, int which,
                                      struct ring_place<SLOTS> &place) {
    if (threadIdx.x % 32 == 0)
        barrier_arrive(at.barrier(which, place.slot));
    place.advance();
}

template <int HD>
__device__ __forceinline__ void compute_all(const struct places<HD> &at,
                                            const struct hopper_args &args, int group) {
    struct ring_place<SLOTS> q = {0, 0}, k = {0, 0}, v = {
        0, 0
    };
    int lane = threadIdx.x % 32, row = group * ROWS + threadIdx.x % WARPGROUP / 32 * 16 + lane / 4;
    float s[KEYS / 2], o[HD / 2];
    unsigned p[KEYS / 4];

    if (group == 1)
        turn_pass(group);
    for (;;) {
        struct rows rows = {{-INFINITY, -INFINITY}, {}, {}};
        unsigned queries = at.q(q.slot) + group * ROWS * PANEL_ROW;
        struct task task;

        barrier_wait(at.barrier(Q_FULL, q.slot), q.turn);
        if (*at.task(q.slot) == NO_TASK)
            break;
        task = task_of(args, *at.task(q.slot));
        barrier_wait(at.barrier(K_FULL, k.slot), k.turn);
        form_scores<HD>(s, queries, at.k(k.slot));
        products_wait<0>(s);
        leave(at, K_FREE, k);
        mask_scores(s, row, lane % 4 * 2);
        soften(s, rows, args.scale);
        pack_weights(p, s);
        for (int tile = task.n_tiles - 2; tile >= 0; tile--) {
            barrier_wait(at.barrier(K_FULL, k.slot), k.turn);
            turn_wait(group);
            form_scores<HD>(s, queries, at.k(k.slot));
            barrier_wait(at.barrier(V_FULL, v.slot), v.turn);
            add_values<HD>(o, p, at.v(v.slot), tile < task.n_tiles - 2);
            turn_pass(group);
            products_wait<1>(s);
            leave(at, K_FREE, k);
            soften(s, rows, args.scale);
            products_wait<0>(o);
            leave(at, V_FREE, v);
            shrink_outputs<HD>(o, rows);
            pack_weights(p, s);
        }
        leave(at, Q_FREE, q);
        barrier_wait(at.barrier(V_FULL, v.slot), v.turn);
        add_values<HD>(o, p, at.v(v.slot), task.n_tiles > 1);
        products_wait<0>(o);
        leave(at, V_FREE, v);
        store_outputs<HD>(args, task, o, rows, row, lane);
    }
    if (group == 0)
        turn_wait(group); /* for the last pass */
}

#endif

template <int HD>
__global__ void __launch_bounds__(THREADS, 1)
    attention_hopper_kernel(const __grid_constant__ CUtensorMap map,
                            const struct hopper_args args) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    extern __shared__ __align__(1024) unsigned char shared[];
    struct places<HD> at = {
        (unsigned)__cvta_generic_to_shared(shared)
    };
    int group = __shfl_sync(0xffffffff, threadIdx.x / WARPGROUP, 0); /* known to be uniform */

    if (threadIdx.x == 0) {
        prefetch_map(&map);
        start_barriers(at);
    }
    __syncthreads();
    if (group == 0) {
        registers_drop<24>();
        if (threadIdx.x == 0)
            copy_all<HD>(at, &map, args);
    } else {
        registers_raise<240>();
        compute_all<HD>(at, args, group - 1);
    }
#endif
}

template <int HD>
static int launch(struct cuda_backend *b, const struct tile_view &view,
                  const struct hopper_args &args) {
    constexpr int SHARED = 3 * SLOTS * KEYS * HD * 2 + 256; /* places::END and more */
    cudaStream_t stream = b->lanes[0].stream;
    CUtensorMap map;
    int n_sms;

    TRY(tensor_map(b, view, &map));
    CUDA_TRY(b, cudaDeviceGetAttribute(&n_sms, cudaDevAttrMultiProcessorCount, b->device));
    CUDA_TRY(b, cudaFuncSetAttribute(attention_hopper_kernel<HD>,
                                     cudaFuncAttributeMaxDynamicSharedMemorySize, SHARED));
    CUDA_TRY(b, cudaMemsetAsync(args.taken, 0, sizeof(*args.taken), stream));
    attention_hopper_kernel<HD><<<min(n_sms, args.n_tasks), THREADS, SHARED, stream>>>(map, args);
    LAUNCH_TRY(b);
    return 0;
}

bool attention_hopper_takes(struct cuda_backend *b, int head_dim) {
    return (head_dim == 64 || head_dim == 128) &&
           hopper_runs(b, (const void *)attention_hopper_kernel<128>);
}

int attention_hopper(struct cuda_backend *b, bf16 *y, const bf16 *qkv, int n_windows, int seqlen,
                     int n_heads, int n_kv_heads, int head_dim) {
    uint64_t n_all = n_heads + 2 * n_kv_heads, row = n_all * head_dim * sizeof(bf16);
    struct tile_view view = {
        qkv,
        4,
        {(uint64_t)head_dim, n_all, (uint64_t)seqlen, (uint64_t)n_windows},
        {head_dim * sizeof(bf16), row, row * seqlen},
        {PANEL, 1, ROWS, 1},
    };
    int n_blocks = (int)blocks_for(seqlen, QUERIES);
    struct hopper_args args = {y,
                               (int *)b->small,
                               n_windows * n_heads * n_blocks,
                               n_blocks,
                               seqlen,
                               n_heads,
                               n_kv_heads,
                               1.4426950408889634f / sqrtf((float)head_dim)};

    return head_dim == 128 ? launch<128>(b, view, args) : launch<64>(b, view, args);
}
