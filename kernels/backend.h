// SPDX-License-Identifier: Apache-2.0
/*
 * The contract of a compute backend: one device, one queue of work, used by one thread at a time.
 *
 * All matrices are row-major and dense. T counts tokens of a batch (n_windows x seqlen), d is the
 * hidden size, S = T * top_k counts slots: copies of a token, one per chosen expert, sorted by
 * expert. "act" is the backend's own element type of activations and weights: f32 on the cpu,
 * bf16 on cuda. Every product is accumulated in f32.
 *
 * Ops are queued and may run later; what they read must stay until the next sync(). An op returns
 * 0, or -errno with the reason in backend_failure(): -EINVAL (a shape or span does not fit),
 * -ENOMEM (device memory), -EIO (the device failed; see `poisoned`). Asynchronous errors surface
 * at sync() and at the ops that return something to the host. No op allocates device memory.
 * The *_scratch() functions look at no device: they may be asked of a backend that is not open.
 * Results are deterministic: same input, same device kind, same bytes, however many threads.
 */
#pragma once

#include "base/dtype.h"
#include "base/failure.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct backend; /* one device; owned by its opener */

/* A range of a backend's memory. Callers slice it and pass it on; only the backend looks inside. */
struct span {
    unsigned char *at;
    size_t size; /* bytes */
};

static inline struct span span_slice(struct span s, size_t offset, size_t size) {
    if (offset > s.size || size > s.size - offset)
        return (struct span){}; /* every op refuses an empty span: -EINVAL */
    return (struct span){s.at + offset, size};
}

struct backend_info {
    char name[96];           /* "NVIDIA H200", "cpu, 2 threads" */
    char model[96];          /* the processor's or the GPU's model: "AMD EPYC", "NVIDIA H200" */
    char library[96];        /* what computes on it: "OpenBLAS 0.3.21 Haswell", "cuBLAS 13.0.2" */
    size_t memory_total;     /* bytes of the device (cpu: of the machine) */
    size_t memory_free;      /* bytes free now, others' use counted */
    size_t memory_allocated; /* bytes that this backend holds now */
    size_t memory_peak;      /* most it ever held since open */
    float utilization;       /* 0 to 1: the share of the last second that it was busy, with the work
                                of others; negative: not known */
    bool poisoned;           /* only a new process can use the device again */
};

/* How the range of a grid is found. */
enum grid_fit {
    GRID_MINMAX,  /* from the least to the largest weight */
    GRID_MSE,     /* that range, shrunk so that the sum of |w - q|^2.4 is least */
    GRID_HESSIAN, /* likewise, the sum of h[j, j] (w_j - q_j)^2; gptq() only */
};

/* Columns of a row that share the units of a K grid: a super-block. */
#define GRID_SUPER 256

/*
 * How a weight is put on its grid: scale * (code - zero). A K grid (sub_bits above 0) is that of
 * ggml's K types: a group's scale is a whole number of units d, which GRID_SUPER columns share; it
 * is signed when sym, else it is at least 1 and a minimum, a whole number of units dmin, is
 * subtracted:
 *   sym:  d * scale * (code - 2^(wbits-1)), scale in [-2^(sub_bits-1), 2^(sub_bits-1) - 1], not 0
 *   asym: d * scale * code - dmin * minimum, scale and minimum in [0, 2^sub_bits - 1]
 */
struct grid {
    int wbits;     /* 2 3 4 8 */
    int groupsize; /* columns that share scale and zero; n for one grid per row; of a K grid: 8 to
                      GRID_SUPER, a power of two */
    bool sym;      /* zero fixed at 2^(wbits-1) */
    enum grid_fit fit;
    int sub_bits; /* of the scales and minima of a K grid, 4 to 8; 0: a grid of no super-blocks */
};

/*
 * A batch of G weight matrices on their grids. n_groups = n / groupsize. A group is a set of
 * columns; g_idx says which group a column is in.
 */
struct quantized {
    struct span codes;  /* u8  [G, rows, n], columns in the model's order */
    struct span scales; /* f16 [G, n_groups, rows] */
    struct span zeros;  /* u8  [G, n_groups, rows]; of an asymmetric K grid: minima */
    struct span g_idx;  /* i32 [G, n] */
    /* f16 [G, n / GRID_SUPER, rows]: d and dmin of a K grid; a group is a part of a super-block.
     * Both are empty for other grids, dmin also for a symmetric one. */
    struct span d, dmin;
};

/* One of two heads that head_difference() compares. */
struct head_side {
    struct span x;    /* [T, d] act */
    struct span w;    /* [vocab, d] act */
    struct span nll;  /* [T] f32: out, as of head() */
    struct span best; /* [T] i32: out, as of head() */
};

/*
 * What refine() works on: G matrices that gptq() has put on their grids. All but the results q,
 * dq, before and after, and square, is left alone.
 */
struct refinement {
    struct quantized q;        /* codes and scales may change */
    struct span dq;            /* [G, rows, n] act: the weights on their grid; likewise */
    struct span w;             /* [G, rows, n] act */
    struct span h;             /* [G, n, n] f32, lower triangle */
    struct span d;             /* [G, n, n] f32, as in cross_add(); empty: none */
    struct span perm;          /* [G, n] i32: the order of a sweep */
    struct span square;        /* [G, n, n] f32: for the op's own use */
    struct span before, after; /* [G, rows] f32: the objective of each row */
    const float *damp;         /* [G], on the host, as in factor() */
    int wbits, groupsize;      /* of the grids */
    int sweeps, rounds;
};

struct backend_ops {
    const char *name; /* "cpu", "cuda" */
    enum dtype act;
    bool streams; /* stage() and fetch() run beside queued work: worth a second layer's memory */
    int batch_tokens; /* T at which its products run well */

    /* Device number @device. -ENODEV when there is none. No big memory is taken before alloc(). */
    int (*open)(int device, struct backend **ret_backend, struct failure *failure);
    void (*close)(struct backend *b); /* frees every span too; NULL is fine */
    void (*info)(struct backend *b, struct backend_info *ret_info); /* any thread */
    /* The reason of the last op that failed: op, shapes, status of the library, a hint. */
    const struct failure *(*failure)(struct backend *b);

    /* -------- memory -------- */
    int (*alloc)(struct backend *b, size_t size, struct span *ret_span); /* aligned to 256 */
    void (*free)(struct backend *b, struct span *span); /* empties it; an empty one is fine */
    int (*zero)(struct backend *b, struct span dst);
    int (*upload)(struct backend *b, struct span dst, const void *src); /* dst.size bytes */
    int (*download)(struct backend *b, void *dst, struct span src);     /* src.size bytes; waits */
    int (*copy)(struct backend *b, struct span dst, struct span src);   /* same size */
    int (*sync)(struct backend *b); /* waits for all queued work */

    /*
     * Streaming of weights, beside the queue: stage() starts to copy @n elements of @dtype (any
     * alignment) from host memory to @dst: F32, F16 and BF16 as act, U8 as they are. @src must stay
     * readable and @dst unused, but by work queued so far, until stage_wait(), after which queued
     * work sees all that was staged.
     * fetch() starts to copy src.size bytes to the host after the work queued so far; the bytes
     * are there after fetch_wait().
     */
    int (*stage)(struct backend *b, struct span dst, const void *src, enum dtype dtype, size_t n);
    int (*stage_wait)(struct backend *b);
    int (*fetch)(struct backend *b, void *dst, struct span src);
    int (*fetch_wait)(struct backend *b);

    /* *ret_finite: is none of x [n] act Inf or NaN? Waits. */
    int (*all_finite)(struct backend *b, struct span x, size_t n, bool *ret_finite);

    /* -------- forward -------- */

    /* x [T, d] act = table [vocab, d] act at ids [T] i32; the caller has checked the ids */
    int (*embed)(struct backend *b, struct span x, struct span table, struct span ids, int T, int d,
                 int vocab);

    /*
     * y = x / sqrt(mean(x^2) + eps) * w, row by row: T rows of n act, row t at x + t * ldx (in
     * elements) and y + t * ldy; w [n] act. y may be x.
     */
    int (*rmsnorm)(struct backend *b, struct span y, int ldy, struct span x, int ldx, struct span w,
                   int T, int n, float eps);

    /* y [T, n_out] act = x [T, n_in] act * w' [n_out, n_in] act, added to y when @add */
    int (*linear)(struct backend *b, struct span y, struct span x, struct span w, int T, int n_in,
                  int n_out, bool add);

    /* x [n] act = min(max(x, -limit), limit) */
    int (*clamp)(struct backend *b, struct span x, size_t n, float limit);

    /*
     * Rotary embedding, half-split, in place on the first n_heads heads of head_dim act of each
     * of T rows, row t at x + t * ldx; its position is t % seqlen; angle = position *
     * theta^(-2i/head_dim) (arXiv 2104.09864, section 3.2.2, in the half-split layout).
     */
    int (*rope)(struct backend *b, struct span x, int ldx, int T, int seqlen, int n_heads,
                int head_dim, float theta);

    /*
     * Causal softmax attention of each window by itself, scaled by 1/sqrt(head_dim).
     * qkv [n_windows * seqlen, (n_heads + 2 * n_kv_heads) * head_dim] act: q heads, k heads, v
     * heads; query head h uses kv head h / (n_heads / n_kv_heads).
     * y [n_windows * seqlen, n_heads * head_dim] act. No full score matrix in memory.
     */
    int (*attention)(struct backend *b, struct span y, struct span qkv, int n_windows, int seqlen,
                     int n_heads, int n_kv_heads, int head_dim);

    /*
     * Router: logits = x [T, d] act * w' [n_experts, d] act; softmax over all experts in f32; the
     * top_k largest (ties: the lower index), then ascending by expert.
     * experts [T, top_k] i32, weights [T, top_k] f32, divided by their sum when @norm.
     */
    int (*route)(struct backend *b, struct span experts, struct span weights, struct span x,
                 struct span w, int T, int d, int n_experts, int top_k, bool norm);

    /*
     * Sorts the T * top_k slots by expert, then by token. order [S] i32: the token of a slot;
     * position [T, top_k] i32: the slot of a token's j-th expert. offsets, on the host: expert e
     * has slots offsets[e] .. offsets[e + 1] - 1; n_experts + 1 entries. Waits.
     */
    int (*dispatch)(struct backend *b, struct span order, struct span position, int32_t *offsets,
                    struct span experts, int T, int n_experts, int top_k);

    /* y [S, n] act: row s = row order[s] of x [T, n] act */
    int (*gather)(struct backend *b, struct span y, struct span x, struct span order, int S, int T,
                  int n);

    /*
     * Per expert e: rows offsets[e] .. offsets[e+1]-1 of y [S, n_out] act = the same rows of
     * x [S, n_in] act * w_e', with w [n_experts, n_out, n_in] act. offsets on the host.
     */
    int (*expert_linear)(struct backend *b, struct span y, struct span x, struct span w,
                         const int32_t *offsets, int n_experts, int n_in, int n_out);

    /* y [S, n] act = silu(g) * u with g, u the first and last n of each row of gu [S, 2n] act */
    int (*swiglu)(struct backend *b, struct span y, struct span gu, int S, int n);

    /*
     * Gate and up projection of the experts, and SwiGLU: per expert e, rows offsets[e] ..
     * offsets[e+1]-1 of y [S, n_out] act = silu(x g_e') * (x u_e'), with g_e, u_e the first and
     * last n_out rows of w [n_experts, 2 n_out, n_in] act. Slot s reads row order[s] of x
     * [T, n_in] act; with an empty @order, row s of x [S, n_in] act, and T = S. offsets on the
     * host. For the op's own use: rows [S, n_in] act, which may be empty when @order is, and
     * gate_up [S, 2 n_out] act. gather(), expert_linear() and swiglu() in one; whether gate and up
     * are rounded to act in between is the backend's choice.
     */
    int (*expert_swiglu)(struct backend *b, struct span y, struct span x, struct span order,
                         struct span w, const int32_t *offsets, int n_experts, int T, int n_in,
                         int n_out, struct span rows, struct span gate_up);

    /* x [T, d] act += sum over j of weights[t, j] * y[position[t, j]], j ascending, in f32 */
    int (*combine)(struct backend *b, struct span x, struct span y, struct span position,
                   struct span weights, int T, int d, int top_k);

    /*
     * Head of the language model: logits = x [T, d] act * w' [vocab, d] act, never all in memory.
     * nll [T] f32: logsumexp - logits[target]; lse [T] f32; best [T] i32: argmax, ties the lower.
     * targets [T] i32, each in [0, vocab). scratch: head_scratch(T, d, vocab) bytes.
     */
    size_t (*head_scratch)(struct backend *b, int T, int d, int vocab);
    int (*head)(struct backend *b, struct span nll, struct span lse, struct span best,
                struct span x, struct span w, struct span targets, int T, int d, int vocab,
                struct span scratch);

    /*
     * Two heads on the same targets: nll and best of both, with the bytes that head() gives them,
     * and kl [T] f32: the Kullback-Leibler divergence sum p (log p - log q) in nats, at least 0,
     * with p the softmax of the base's logits and q of the other's. Logits are never all in
     * memory. scratch: head_difference_scratch(T, d, vocab) bytes.
     */
    size_t (*head_difference_scratch)(struct backend *b, int T, int d, int vocab);
    int (*head_difference)(struct backend *b, struct span kl, const struct head_side *base,
                           const struct head_side *other, struct span targets, int T, int d,
                           int vocab, struct span scratch);

    /* -------- quantization -------- */

    /*
     * h [G, n, n] f32: h_g += x_g' x_g, x_g being rows offsets[g] .. offsets[g+1]-1 of x [S, n]
     * act. Only the lower triangle (row >= column) is defined. offsets on the host.
     */
    int (*hessian_add)(struct backend *b, struct span h, struct span x, const int32_t *offsets,
                       int G, int n);

    /*
     * d [G, n, n] f32, all of it: d_g += (x0_g - x_g)' x_g with the same rows of x0 and x [S, n]
     * act; their difference is rounded to act. How the inputs x of a quantized model drift away
     * from those of the original, x0 (arXiv 2504.02692).
     */
    int (*cross_add)(struct backend *b, struct span d, struct span x0, struct span x,
                     const int32_t *offsets, int G, int n);

    /*
     * perm [G, n] i32: the columns in the order in which they are quantized: by diag(h) down,
     * ties by index, when @act_order; else 0 .. n-1.
     */
    int (*hessian_order)(struct backend *b, struct span perm, struct span h, int G, int n,
                         bool act_order);

    /*
     * u [G, n, n] f32: upper triangular, u'u = inverse of the damped, permuted h: a zero on the
     * diagonal becomes 1 (dead column); damp[g] * mean(diag) is added to the diagonal; rows and
     * columns are permuted (arXiv 2210.17323, section 3.3, step 3). By J h J = L L' and
     * u = J inv(L) J with J the reversal. Only row <= column of u is defined. damp, info and
     * condition on the host; info[g] = 0, or not 0 when h_g is not positive definite or not
     * finite: its u and condition are undefined then. condition[g]: the square of the largest
     * over the least of u's diagonal, which is at most the condition of what was factored (in
     * the 2-norm). h is not changed. Waits.
     */
    size_t (*factor_scratch)(struct backend *b, int G, int n);
    int (*factor)(struct backend *b, struct span u, struct span h, struct span perm,
                  const float *damp, int32_t *info, float *condition, int G, int n,
                  struct span scratch);

    /*
     * The same for one matrix, in float64 from h to the last step, in which u is rounded: LAPACK
     * on the cpu, cuSOLVER on cuda. -ENOSYS when cuSOLVER, which is loaded by the first call,
     * is not there.
     */
    size_t (*factor_f64_scratch)(struct backend *b, int n);
    int (*factor_f64)(struct backend *b, struct span u, struct span h, struct span perm, float damp,
                      int32_t *info, float *condition, int n, struct span scratch);

    /*
     * What gptq() is to do against the drift d of cross_add(): p [G, n, n] f32 = alpha *
     * triu(d u', 1) u with d permuted by perm (arXiv 2504.02692), u and perm being those of
     * factor() on the same backend. Only row < column of p is defined. What is not defined of u may
     * be overwritten.
     */
    size_t (*drift_scratch)(struct backend *b, int G, int n);
    int (*drift_correction)(struct backend *b, struct span p, struct span d, struct span u,
                            struct span perm, float alpha, int G, int n, struct span scratch);

    /*
     * GPTQ (arXiv 2210.17323, algorithm 1) on G matrices w [G, rows, n] act, each with its u_g
     * and perm_g, in blocks of 128 columns. A group is groupsize columns in the order of perm;
     * its grid comes from the weights as they are when its first column is reached. With
     * @static_groups a group is groupsize columns in the model's order and its grid comes from
     * the untouched weights. dq [G, rows, n] act: the weights on their grid. The grid:
     *   sym:  scale = 2 * absmax / (2^wbits - 1), zero = 2^(wbits-1)
     *   asym: scale = (max - min) / (2^wbits - 1) with 0 in [min, max], zero = round(-min/scale)
     * an all-zero group takes [-1, 1]; scale is rounded to f16 (at least 2^-24, at most 65504)
     * before use; code = clamp(round(w / scale) + zero, 0, 2^wbits - 1), halves to even.
     * A shrunk range is p times that range, p = 1, 0.99 ... 0.21: the first of the best ones. Of
     * h [G, n, n] f32 only the diagonal is read, and only for GRID_HESSIAN; else it may be empty.
     * A K grid (struct grid; @static_groups is true) is sought by coordinate descent, for the least
     * sum of v_j (w_j - q_j)^2 over each super-block, v_j being 1 or, with GRID_HESSIAN, h[j, j]
     * plus 1 % of the mean of h[j, j] in the super-block (kernels/cpu/kgrid.h).
     * With p of drift_correction() a column that is rounded also gives w_i p[i, j] to each later
     * column j, w_i being what it was just before; p may be empty.
     */
    size_t (*gptq_scratch)(struct backend *b, int G, int rows, int n, bool with_p);
    int (*gptq)(struct backend *b, const struct quantized *q, struct span dq, struct span w,
                struct span u, struct span perm, struct span p, struct span h,
                const struct grid *grid, bool static_groups, int G, int rows, int n,
                struct span scratch);

    /*
     * Codes and scales that fit the inputs better. With H = h, damped as in factor(), q the weights
     * on their grid and e = q - w, the objective of a row is e H e' - 2 w d e'; half its gradient
     * is e H - w d, which is 0 where q H = w (H + d). @rounds times:
     * - @sweeps sweeps of coordinate descent (arXiv 2309.01885, 2406.17542), column by column in
     *   the order of perm, in blocks of 128: q_j becomes the point of its grid nearest to q_j -
     *   gradient_j / H_jj.
     * - scales by least squares, for fixed codes: with c_i the codes minus the zero in group i,
     *   A_ij = c_i H_ij c_j' and slope_i = gradient_i c_i', the scales change by the solution of
     *   (A + ridge) x = -slope, ridge being 1e-4 of the mean of A's diagonal. A scale is rounded
     *   to f16 (at least 2^-24, at most 65504), and stays when it would leave 0.5 to 1.5 times its
     *   value; all scales of a row stay when the objective would not fall.
     * A row whose objective in the end is not less than it was keeps what it had. Zeros stay; so
     * do all scales of a K grid.
     */
    size_t (*refine_scratch)(struct backend *b, const struct refinement *r, int G, int rows, int n);
    int (*refine)(struct backend *b, const struct refinement *r, int G, int rows, int n,
                  struct span scratch);

    /* Round to nearest: the same grid (not GRID_HESSIAN) and outputs, groups in the model's order.
     */
    int (*rtn)(struct backend *b, const struct quantized *q, struct span dq, struct span w,
               const struct grid *grid, int G, int rows, int n);

    /*
     * Output error of each row: num [G, rows] f32 = diag(e h e'), e = w - dq; den = diag(w h w').
     * w, dq [G, rows, n] act; h [G, n, n] f32, lower triangle.
     */
    size_t (*output_error_scratch)(struct backend *b, int G, int rows, int n);
    int (*output_error)(struct backend *b, struct span num, struct span den, struct span w,
                        struct span dq, struct span h, int G, int rows, int n, struct span scratch);

    /* w [G, rows, n] act = scales * (codes - zeros), or as a K grid says when q->d is not empty */
    int (*dequantize)(struct backend *b, struct span w, const struct quantized *q, int n_groups,
                      int G, int rows, int n);

    /*
     * The gptq layout of @N code matrices: packed [N, n * wbits / 32, rows] u32 from codes
     * [N, rows, n] u8, and back. Little end first along n; 3-bit: 32 values in 3 words. n is a
     * multiple of 32.
     */
    int (*pack)(struct backend *b, struct span packed, struct span codes, int wbits, int N,
                int rows, int n);
    int (*unpack)(struct backend *b, struct span codes, struct span packed, int wbits, int N,
                  int rows, int n);
};

/* What a struct backend begins with, in every backend. */
struct backend {
    const struct backend_ops *ops;
};

extern const struct backend_ops
    backend_cpu; /* OpenBLAS, LAPACK, threads: the definition of right */
