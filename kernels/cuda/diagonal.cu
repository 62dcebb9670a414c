// SPDX-License-Identifier: Apache-2.0
/*
 * Cholesky and triangular inverse of one block of at most 128 columns, one thread block a matrix.
 *
 * 16 x 16 threads; thread (y, x) owns the elements (y + 16 i, x + 16 k) of the block and of the
 * inverse, in registers. Column by column its owners publish it, and the row of the inverse, in
 * shared memory; all threads then take the two rank-one updates from there. What is done already
 * is multiplied by a published 0. A smaller block is filled up with the identity.
 * Numerics: f32, IEEE square root and division.
 */
#include "kernels/cuda/factor.cuh"

enum { SIDE = 16, EACH = DIAGONAL / SIDE };

/* What the owners publish at a column; two of them, so that one barrier a column will do. */
struct published {
    float column[DIAGONAL]; /* of the block, as it stands; 0 above the diagonal */
    float row[DIAGONAL];    /* of the inverse, not yet divided by the pivot */
};

struct tile {
    float a[EACH][EACH], x[EACH][EACH];
};

/* Column SIDE * K + @t: publish, wait, update. */
template <int K>
__device__ __forceinline__ float eliminate(struct tile &own, struct published *shared, int t, int x,
                                           int y) {
    struct published *p = &shared[t & 1];
    int j = SIDE * K + t;
    float pivot, reciprocal, column[EACH], row[EACH], other[EACH];

    if (x == t)
#pragma unroll
        for (int i = 0; i < EACH; i++)
            p->column[y + SIDE * i] = y + SIDE * i >= j ? own.a[i][K] : 0.0f;
    if (y == t)
#pragma unroll
        for (int k = 0; k < EACH; k++)
            p->row[x + SIDE * k] = own.x[K][k];
    __syncthreads();
    pivot = p->column[j];
    reciprocal = 1.0f / sqrtf(pivot);
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        int r = y + SIDE * i, c = x + SIDE * i;

        column[i] = r > j ? p->column[r] * reciprocal : 0.0f;
        other[i] = c > j ? p->column[c] * reciprocal : 0.0f;
        row[i] = p->row[c] * reciprocal;
    }
#pragma unroll
    for (int i = K; i < EACH; i++) {
#pragma unroll
        for (int k = K; k < EACH; k++)
            own.a[i][k] -= column[i] * other[k];
#pragma unroll
        for (int k = 0; k <= K; k++)
            own.x[i][k] -= column[i] * row[k];
    }
    if (y == t)
#pragma unroll
        for (int k = 0; k < EACH; k++)
            own.x[K][k] = row[k];
    return pivot;
}

template <int K>
__device__ __forceinline__ void eliminate_16(struct tile &own, struct published *shared, int x,
                                             int y, int &bad) {
    for (int t = 0; t < SIDE; t++) {
        float pivot = eliminate<K>(own, shared, t, x, y);

        if (!bad && (!(pivot > 0.0f) || isinf(pivot)))
            bad = SIDE * K + t + 1;
    }
}

__global__ void __launch_bounds__(SIDE *SIDE, 1)
    diagonal_kernel(const float *a, float *u, int *info, int n, int k0, int nb) {
    __shared__ struct published shared[2];
    size_t at = (size_t)blockIdx.x * n * n + (size_t)k0 * n + k0;
    int x = threadIdx.x % SIDE, y = threadIdx.x / SIDE, bad = 0;
    struct tile own;

#pragma unroll
    for (int i = 0; i < EACH; i++)
#pragma unroll
        for (int k = 0; k < EACH; k++) {
            int r = y + SIDE * i, c = x + SIDE * k;

            own.x[i][k] = r == c ? 1.0f : 0.0f;
            own.a[i][k] = own.x[i][k];
            if (r < nb && c < nb)
                own.a[i][k] = a[at + (c <= r ? (size_t)r * n + c : (size_t)c * n + r)];
        }
    eliminate_16<0>(own, shared, x, y, bad);
    eliminate_16<1>(own, shared, x, y, bad);
    eliminate_16<2>(own, shared, x, y, bad);
    eliminate_16<3>(own, shared, x, y, bad);
    eliminate_16<4>(own, shared, x, y, bad);
    eliminate_16<5>(own, shared, x, y, bad);
    eliminate_16<6>(own, shared, x, y, bad);
    eliminate_16<7>(own, shared, x, y, bad);
#pragma unroll
    for (int i = 0; i < EACH; i++)
#pragma unroll
        for (int k = 0; k < EACH; k++) {
            int r = y + SIDE * i, c = x + SIDE * k;

            if (r < nb && c < nb)
                u[at + (size_t)r * n + c] = c <= r ? own.x[i][k] : 0.0f;
        }
    if (!threadIdx.x && bad && !info[blockIdx.x])
        info[blockIdx.x] = k0 + bad;
}

void diagonal_launch(cudaStream_t stream, const float *a, float *u, int *info, int G, int n, int k0,
                     int nb) {
    diagonal_kernel<<<G, SIDE * SIDE, 0, stream>>>(a, u, info, n, k0, nb);
}
