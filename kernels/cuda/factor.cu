// SPDX-License-Identifier: Apache-2.0
/*
 * The upper factor of the inverse of a damped, permuted Hessian, for G matrices at once.
 *
 * With J the reversal of rows, A = J h J = R'R (Cholesky, R upper) and u = J inv(R)' ... J: the
 * reversal of both indices turns inv(L), L = R', into an upper triangle u with
 * u'u = inv(h). In memory: a column-major upper triangle inv(R) is a row-major lower triangle
 * inv(L), and reversing both of its indices is reversing the whole array.
 *
 * Numerics: f32, no TF32. info is set when a pivot is not finite and positive.
 * scratch: A [G, n, n] f32, two pointers and the infos of each matrix.
 */
#include "kernels/cuda/device.cuh"

#include <string.h>

struct factor_layout {
    size_t matrix, pointers, infos, means, total; /* offsets in scratch, bytes */
};

static struct factor_layout factor_layout(int G, int n) {
    struct factor_layout at = {};
    size_t matrix = bytes_of(4, {G, n, n});

    if (matrix > SIZE_MAX / 2) {
        at.total = SIZE_MAX;
        return at;
    }
    at.pointers = (matrix + 255) / 256 * 256;
    at.infos = at.pointers + bytes_of(sizeof(float *), {2, G});
    at.means = at.infos + bytes_of(4, {G});
    at.total = at.means + bytes_of(4, {2, G});
    return at;
}

size_t cuda_factor_scratch(struct backend *base, int G, int n) {
    (void)base;
    return factor_layout(G, n).total;
}

/* One block a matrix: what is added to its diagonal; pointers for the batched calls. */
__global__ void factor_setup_kernel(float *added, const float *damp, const float *h, int n,
                                    float **a_at, float **u_at, float *a, float *u) {
    __shared__ float sums[8];
    size_t g = blockIdx.x;
    float sum = 0.0f;

    h += g * n * n;
    for (int i = threadIdx.x; i < n; i += 256) {
        float d = h[(size_t)i * n + i];

        sum += d == 0.0f ? 1.0f : d;
    }
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0)
        sums[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x)
        return;
    for (int i = 1; i < 8; i++)
        sum += sums[i];
    added[g] = damp[g] * (sum / n);
    a_at[g] = a + g * n * n;
    u_at[g] = u + g * n * n;
}

/* a[i][j] = damped h[p[n-1-i]][p[n-1-j]]; u = the identity */
__global__ void factor_gather_kernel(float *a, float *u, const float *h, const int *perm,
                                     const float *added, int n) {
    int j = blockIdx.x * 128 + threadIdx.x, i = blockIdx.y;
    size_t g = blockIdx.z, base = g * n * n;
    int row, column;
    float value;

    if (j >= n)
        return;
    row = perm[g * n + n - 1 - i];
    column = perm[g * n + n - 1 - j];
    if ((unsigned)row >= (unsigned)n || (unsigned)column >= (unsigned)n)
        row = column = 0;
    value = h[base + (row > column ? (size_t)row * n + column : (size_t)column * n + row)];
    if (i == j)
        value = (value == 0.0f ? 1.0f : value) + added[g];
    a[base + (size_t)i * n + j] = value;
    u[base + (size_t)i * n + j] = i == j ? 1.0f : 0.0f;
}

/* Reverses each array of n * n in place. */
__global__ void reverse_kernel(float *u, size_t size) {
    size_t i = (size_t)blockIdx.x * 256 + threadIdx.x;
    float *at = u + blockIdx.y * size, value;

    if (i >= size / 2)
        return;
    value = at[i];
    at[i] = at[size - 1 - i];
    at[size - 1 - i] = value;
}

/* info = a pivot that is not finite and positive, when the factorization did not see it */
__global__ void check_pivots_kernel(int *info, const float *a, int n) {
    const float *at = a + (size_t)blockIdx.x * n * n;

    for (int i = threadIdx.x; i < n; i += 256) {
        float pivot = at[(size_t)i * n + i];

        if (!(pivot > 0.0f) || isinf(pivot))
            info[blockIdx.x] = n + 1;
    }
}

static int factor_batch(struct cuda_backend *b, float *u, float *h, int *perm, const float *damp,
                        unsigned char *scratch, int G, int n) {
    struct factor_layout layout = factor_layout(G, n);
    float *a = (float *)scratch, *added = (float *)(scratch + layout.means);
    float **a_at = (float **)(scratch + layout.pointers), **u_at = a_at + G;
    int *info = (int *)(scratch + layout.infos);
    cudaStream_t stream = b->lanes[0].stream;
    const float one = 1.0f;
    size_t size = (size_t)n * n;

    CUDA_TRY(b, cudaMemcpyAsync(added + G, damp, 4 * (size_t)G, cudaMemcpyHostToDevice, stream));
    factor_setup_kernel<<<G, 256, 0, stream>>>(added, added + G, h, n, a_at, u_at, a, u);
    LAUNCH_TRY(b);
    factor_gather_kernel<<<dim3(blocks_for(n, 128), n, G), 128, 0, stream>>>(a, u, h, perm, added,
                                                                             n);
    LAUNCH_TRY(b);
    SOLVER_TRY(b, cusolverDnSpotrfBatched(b->solver, CUBLAS_FILL_MODE_UPPER, n, a_at, n, info, G));
    check_pivots_kernel<<<G, 256, 0, stream>>>(info, a, n);
    LAUNCH_TRY(b);
    BLAS_TRY(b, cublasStrsmBatched(b->lanes[0].blas, CUBLAS_SIDE_LEFT, CUBLAS_FILL_MODE_UPPER,
                                   CUBLAS_OP_N, CUBLAS_DIAG_NON_UNIT, n, n, &one, a_at, n, u_at, n,
                                   G));
    reverse_kernel<<<dim3(blocks_for((long)(size / 2), 256) + 1, G), 256, 0, stream>>>(u, size);
    LAUNCH_TRY(b);
    CUDA_TRY(b, cudaMemcpyAsync(b->pinned, info, 4 * (size_t)G, cudaMemcpyDeviceToHost, stream));
    CUDA_TRY(b, cudaStreamSynchronize(stream));
    return 0;
}

int cuda_factor(struct backend *base, struct span u, struct span h, struct span perm,
                const float *damp, int32_t *info, int G, int n, struct span scratch) {
    struct cuda_backend *b = cuda_of(base);

    TRY(op_begin(b, "factor", "G n", G, n));
    if (G < 1 || n < 1 || G > 65535 || n > 65535)
        return status_invalid(b, "1 to 65535 matrices of at most 65535 columns");
    TRY(op_needs(b, {{"u", u, bytes_of(4, {G, n, n}), 4},
                     {"h", h, bytes_of(4, {G, n, n}), 4},
                     {"perm", perm, bytes_of(4, {G, n}), 4},
                     {"scratch", scratch, factor_layout(G, n).total, 16}}));
    TRY(factor_batch(b, (float *)u.at, (float *)h.at, (int *)perm.at, damp, scratch.at, G, n));
    memcpy(info, b->pinned, 4 * (size_t)G);
    return 0;
}
