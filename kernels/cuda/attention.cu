// SPDX-License-Identifier: Apache-2.0
/*
 * Causal softmax attention without the score matrix (arXiv 2307.08691, section 3).
 *
 * head_dim 64 and 128: a block of 4 warps owns 128 queries of one head, a warp 32 of them; it
 * walks the keys in tiles of 64, from the diagonal down. Scores and outputs stay in registers;
 * keys and values come by cp.async, the next tile's keys while the softmax runs, its values while
 * the scores are formed. Products: mma m16n8k16, bf16 in, f32 accumulation. The softmax runs in
 * f32 in base 2; its weights are rounded to bf16 for the second product, its sum is not.
 * Other head_dims up to 256: a warp a query, f32, for small models. On Hopper, head_dim 64 and 128
 * go to hopper/attention.cu.
 * Shared memory: 256 rows of head_dim bf16; 16-byte chunks are swizzled by row, so that ldmatrix
 * meets no bank twice.
 */
#include "kernels/cuda/device.cuh"

enum { QUERIES = 128, KEYS = 64, WARPS = 4, ROWS_A_WARP = QUERIES / WARPS, MAX_HEAD_DIM = 256 };

struct attention_args {
    bf16 *y;
    const bf16 *qkv;
    int seqlen, n_heads, n_kv_heads, head_dim;
    float scale; /* log2(e) / sqrt(head_dim) */
};

/* -------- five-line wrappers of instructions -------- */

__device__ __forceinline__ void copy_async_16(unsigned to, const void *from, bool valid) {
    int size = valid ? 16 : 0; /* the rest is zero-filled */

    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(to), "l"(from), "r"(size));
}

__device__ __forceinline__ void copy_async_commit() {
    asm volatile("cp.async.commit_group;\n");
}

template <int PENDING> __device__ __forceinline__ void copy_async_wait() {
    asm volatile("cp.async.wait_group %0;\n" ::"n"(PENDING) : "memory");
}

__device__ __forceinline__ void load_matrices(unsigned r[4], unsigned at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
}

__device__ __forceinline__ void load_matrices_transposed(unsigned r[4], unsigned at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
}

/* c [16, 8] += a [16, 16] b [16, 8] */
__device__ __forceinline__ void multiply(float c[4], const unsigned a[4], unsigned b0,
                                         unsigned b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ __forceinline__ unsigned pack_bf16(float lo, float hi) {
    __nv_bfloat162 pair = __floats2bfloat162_rn(lo, hi);

    return *reinterpret_cast<unsigned *>(&pair);
}

__device__ __forceinline__ float exp2_fast(float x) {
    float y;

    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* -------- tiles -------- */

/* Byte offset of 16-byte chunk @chunk of row @row in a tile of rows of HD bf16. */
template <int HD> __device__ __forceinline__ unsigned chunk_at(int row, int chunk) {
    return row * HD * 2 + ((chunk ^ (row & 7)) << 4);
}

/* Starts to copy rows first .. first + ROWS - 1 of a head to shared memory at @to. */
template <int HD, int ROWS>
__device__ __forceinline__ void load_tile(unsigned to, const bf16 *head, size_t stride, int first,
                                          int seqlen) {
    constexpr int CHUNKS = HD / 8, AT_ONCE = WARPS * 32 / CHUNKS;
    int chunk = threadIdx.x % CHUNKS, row = threadIdx.x / CHUNKS;

#pragma unroll
    for (int i = 0; i < ROWS; i += AT_ONCE) {
        int t = first + row + i;
        bool valid = t < seqlen;

        copy_async_16(to + chunk_at<HD>(row + i, chunk),
                      head + (size_t)(valid ? t : 0) * stride + chunk * 8, valid);
    }
}

/* s [32, KEYS] = q k', of this warp's rows */
template <int HD>
__device__ __forceinline__ void form_scores(float s[2][KEYS / 8][4], unsigned q, unsigned k,
                                            int warp, int lane) {
#pragma unroll
    for (int m = 0; m < 2; m++)
#pragma unroll
        for (int j = 0; j < KEYS / 8; j++)
            s[m][j][0] = s[m][j][1] = s[m][j][2] = s[m][j][3] = 0.0f;
#pragma unroll
    for (int d = 0; d < HD / 16; d++) {
        unsigned a[2][4], b[4];

#pragma unroll
        for (int m = 0; m < 2; m++)
            load_matrices(a[m], q + chunk_at<HD>(warp * ROWS_A_WARP + m * 16 + (lane & 15),
                                                 d * 2 + (lane >> 4)));
#pragma unroll
        for (int j = 0; j < KEYS / 16; j++) {
            load_matrices(b, k + chunk_at<HD>(j * 16 + (lane & 7) + ((lane >> 4) << 3),
                                              d * 2 + (lane >> 3 & 1)));
#pragma unroll
            for (int m = 0; m < 2; m++) {
                multiply(s[m][2 * j], a[m], b[0], b[1]);
                multiply(s[m][2 * j + 1], a[m], b[2], b[3]);
            }
        }
    }
}

/* o [32, HD] += p [32, KEYS] v */
template <int HD>
__device__ __forceinline__ void add_values(float o[2][HD / 8][4], const float p[2][KEYS / 8][4],
                                           unsigned v, int lane) {
#pragma unroll
    for (int j = 0; j < KEYS / 16; j++) {
        unsigned a[2][4], b[4];

#pragma unroll
        for (int m = 0; m < 2; m++) {
            a[m][0] = pack_bf16(p[m][2 * j][0], p[m][2 * j][1]);
            a[m][1] = pack_bf16(p[m][2 * j][2], p[m][2 * j][3]);
            a[m][2] = pack_bf16(p[m][2 * j + 1][0], p[m][2 * j + 1][1]);
            a[m][3] = pack_bf16(p[m][2 * j + 1][2], p[m][2 * j + 1][3]);
        }
#pragma unroll
        for (int d = 0; d < HD / 16; d++) {
            load_matrices_transposed(b,
                                     v + chunk_at<HD>(j * 16 + (lane & 15), d * 2 + (lane >> 4)));
#pragma unroll
            for (int m = 0; m < 2; m++) {
                multiply(o[m][2 * d], a[m], b[0], b[1]);
                multiply(o[m][2 * d + 1], a[m], b[2], b[3]);
            }
        }
    }
}

/* Scores above the diagonal become -inf; q0, k0: the position of the warp's row 0, of key 0. */
__device__ __forceinline__ void mask_scores(float s[2][KEYS / 8][4], int q0, int k0, int lane) {
#pragma unroll
    for (int m = 0; m < 2; m++)
#pragma unroll
        for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int query = q0 + m * 16 + lane / 4 + (i >= 2 ? 8 : 0);
                int key = k0 + j * 8 + lane % 4 * 2 + (i & 1);

                if (key > query)
                    s[m][j][i] = -INFINITY;
            }
}

/*
 * Scores to weights against the rows' new maxima; what was summed so far shrinks accordingly.
 * Row r = 2 m + h of a lane: row m * 16 + lane / 4 + 8 h of the warp.
 */
template <int HD>
__device__ __forceinline__ void soften(float s[2][KEYS / 8][4], float o[2][HD / 8][4],
                                       float largest[4], float sum[4], float scale) {
#pragma unroll
    for (int r = 0; r < 4; r++) {
        int m = r / 2, h = r % 2 * 2;
        float now = largest[r], shrink, base;

#pragma unroll
        for (int j = 0; j < KEYS / 8; j++)
            now = fmaxf(now, fmaxf(s[m][j][h], s[m][j][h + 1]));
        now = fmaxf(now, __shfl_xor_sync(0xffffffff, now, 1));
        now = fmaxf(now, __shfl_xor_sync(0xffffffff, now, 2));
        base = now == -INFINITY ? 0.0f : now * scale;
        shrink = exp2_fast(largest[r] * scale - base);
        largest[r] = now;
        sum[r] *= shrink;
#pragma unroll
        for (int j = 0; j < KEYS / 8; j++) {
            s[m][j][h] = exp2_fast(s[m][j][h] * scale - base);
            s[m][j][h + 1] = exp2_fast(s[m][j][h + 1] * scale - base);
            sum[r] += s[m][j][h] + s[m][j][h + 1];
        }
#pragma unroll
        for (int d = 0; d < HD / 8; d++) {
            o[m][d][h] *= shrink;
            o[m][d][h + 1] *= shrink;
        }
    }
}

template <int HD>
__device__ __forceinline__ void store_outputs(const struct attention_args &args,
                                              const float o[2][HD / 8][4], const float sum[4],
                                              size_t window, int q0, int head, int lane) {
#pragma unroll
    for (int r = 0; r < 4; r++) {
        int m = r / 2, h = r % 2 * 2, t = q0 + m * 16 + lane / 4 + h * 4;
        float total = sum[r];
        bf16 *y;

        total += __shfl_xor_sync(0xffffffff, total, 1);
        total += __shfl_xor_sync(0xffffffff, total, 2);
        if (t >= args.seqlen)
            continue;
        total = 1.0f / total;
        y = args.y + ((window * args.seqlen + t) * args.n_heads + head) * HD + lane % 4 * 2;
#pragma unroll
        for (int d = 0; d < HD / 8; d++)
            *(unsigned *)(y + d * 8) = pack_bf16(o[m][d][h] * total, o[m][d][h + 1] * total);
    }
}

template <int HD>
__global__ void __launch_bounds__(WARPS * 32, 2)
    attention_kernel(const struct attention_args args) {
    extern __shared__ __align__(1024) unsigned char shared[];
    unsigned q = (unsigned)__cvta_generic_to_shared(shared), k = q + QUERIES * HD * 2,
             v = k + KEYS * HD * 2;
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int first = (gridDim.z - 1 - blockIdx.z) * QUERIES; /* long rows of keys first */
    int head = blockIdx.x, q0 = first + warp * ROWS_A_WARP;
    size_t stride = (size_t)(args.n_heads + 2 * args.n_kv_heads) * HD, window = blockIdx.y;
    const bf16 *heads = args.qkv + window * args.seqlen * stride;
    const bf16 *keys =
        heads + (size_t)(args.n_heads + head / (args.n_heads / args.n_kv_heads)) * HD;
    const bf16 *values = keys + (size_t)args.n_kv_heads * HD;
    float s[2][KEYS / 8][4], o[2][HD / 8][4] = {}, sum[4] = {};
    float largest[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
    int tile = (min(args.seqlen, first + QUERIES) - 1) / KEYS;

    load_tile<HD, QUERIES>(q, heads + (size_t)head * HD, stride, first, args.seqlen);
    load_tile<HD, KEYS>(k, keys, stride, tile * KEYS, args.seqlen);
    copy_async_commit();
    for (; tile >= 0; tile--) {
        copy_async_wait<0>(); /* these keys */
        __syncthreads();      /* and no thread reads the values before */
        load_tile<HD, KEYS>(v, values, stride, tile * KEYS, args.seqlen);
        copy_async_commit();
        form_scores<HD>(s, q, k, warp, lane);
        if (tile * KEYS + KEYS - 1 > q0)
            mask_scores(s, q0, tile * KEYS, lane);
        __syncthreads(); /* no thread reads these keys any more */
        if (tile > 0)
            load_tile<HD, KEYS>(k, keys, stride, (tile - 1) * KEYS, args.seqlen);
        copy_async_commit();
        soften<HD>(s, o, largest, sum, args.scale);
        copy_async_wait<1>(); /* the values */
        __syncthreads();
        add_values<HD>(o, s, v, lane);
    }
    store_outputs<HD>(args, o, sum, window, q0, head, lane);
}

/* -------- any head_dim: a warp a query -------- */

__global__ void attention_any_kernel(const struct attention_args args, long n_queries) {
    enum { EACH = MAX_HEAD_DIM / 32 };
    long at = (long)blockIdx.x * 4 + threadIdx.x / 32, token = at / args.n_heads;
    int lane = threadIdx.x % 32, head = (int)(at % args.n_heads), hd = args.head_dim;
    int query = (int)(token % args.seqlen);
    size_t stride = (size_t)(args.n_heads + 2 * args.n_kv_heads) * hd;
    const bf16 *window, *keys;
    float q[EACH], o[EACH] = {}, largest = -INFINITY, sum = 0.0f;

    if (at >= n_queries)
        return;
    window = args.qkv + (size_t)(token - query) * stride;
    keys = window + (size_t)(args.n_heads + head / (args.n_heads / args.n_kv_heads)) * hd;
#pragma unroll
    for (int i = 0; i < EACH; i++)
        q[i] = lane + 32 * i < hd
                   ? __bfloat162float(window[query * stride + head * hd + lane + 32 * i])
                   : 0.0f;
    for (int t = 0; t <= query; t++) {
        const bf16 *key = keys + t * stride, *value = key + (size_t)args.n_kv_heads * hd;
        float score = 0.0f, now, shrink, weight;

#pragma unroll
        for (int i = 0; i < EACH; i++)
            if (lane + 32 * i < hd)
                score += q[i] * __bfloat162float(key[lane + 32 * i]);
        score = warp_sum(score) * args.scale;
        now = fmaxf(largest, score);
        shrink = exp2f(largest - now);
        weight = exp2f(score - now);
        largest = now;
        sum = sum * shrink + weight;
#pragma unroll
        for (int i = 0; i < EACH; i++)
            if (lane + 32 * i < hd)
                o[i] = o[i] * shrink + weight * __bfloat162float(value[lane + 32 * i]);
    }
#pragma unroll
    for (int i = 0; i < EACH; i++)
        if (lane + 32 * i < hd)
            args.y[at * hd + lane + 32 * i] = __float2bfloat16_rn(o[i] / sum);
}

template <int HD>
static int launch(struct cuda_backend *b, const struct attention_args &args, int n_windows) {
    constexpr int SHARED = (QUERIES + 2 * KEYS) * HD * 2;
    dim3 grid(args.n_heads, n_windows, blocks_for(args.seqlen, QUERIES));

    CUDA_TRY(b, cudaFuncSetAttribute(attention_kernel<HD>,
                                     cudaFuncAttributeMaxDynamicSharedMemorySize, SHARED));
    attention_kernel<HD><<<grid, WARPS * 32, SHARED, b->lanes[0].stream>>>(args);
    LAUNCH_TRY(b);
    return 0;
}

int cuda_attention(struct backend *base, struct span y, struct span qkv, int n_windows, int seqlen,
                   int n_heads, int n_kv_heads, int head_dim) {
    struct cuda_backend *b = cuda_of(base);
    struct attention_args args = {
        (bf16 *)y.at, (const bf16 *)qkv.at, seqlen, n_heads, n_kv_heads, head_dim, 0.0f};
    long n_queries = (long)n_windows * seqlen * n_heads;

    TRY(op_begin(b, "attention", "n_windows seqlen n_heads n_kv_heads head_dim", n_windows, seqlen,
                 n_heads, n_kv_heads, head_dim));
    if (n_windows < 1 || n_windows > 65535 || seqlen < 1 || seqlen > 65535 * QUERIES ||
        n_heads < 1 || n_kv_heads < 1 || n_heads % n_kv_heads || head_dim < 1 ||
        head_dim > MAX_HEAD_DIM)
        return status_invalid(b, "heads have to be a multiple of kv heads, head_dim at most %d",
                              MAX_HEAD_DIM);
    TRY(op_needs(b, {{"y", y, bytes_of(2, {n_windows, seqlen, n_heads, head_dim}), 2},
                     {"qkv", qkv,
                      bytes_of(2, {n_windows, seqlen, n_heads + 2L * n_kv_heads, head_dim}), 2}}));
    args.scale = 1.4426950408889634f / sqrtf((float)head_dim);
    if (aligned16(y.at) && aligned16(qkv.at)) {
        if (attention_hopper_takes(b, head_dim))
            return attention_hopper(b, args.y, args.qkv, n_windows, seqlen, n_heads, n_kv_heads,
                                    head_dim);
        if (head_dim == 128)
            return launch<128>(b, args, n_windows);
        if (head_dim == 64)
            return launch<64>(b, args, n_windows);
    }
    attention_any_kernel<<<blocks_for(n_queries, 4), 128, 0, b->lanes[0].stream>>>(args, n_queries);
    LAUNCH_TRY(b);
    return 0;
}
