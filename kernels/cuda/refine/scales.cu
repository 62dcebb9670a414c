// SPDX-License-Identifier: Apache-2.0
/*
 * New scales by least squares for fixed codes: refine()'s other half.
 *
 * A_ij = c_i H_ij c_j' of each row, c_i being its codes minus zeros in group i. Group by group one
 * product makes H c_i for all rows, of the columns of the groups up to i (A is symmetric), and a
 * dot of each group's columns with its c_j makes A's row i. Then one thread a row factors A + ridge
 * in place and solves, its elements `rows` apart.
 *
 * Numerics: codes minus zeros are whole numbers that bf16 holds; H as in refine.cuh. f32.
 */
#include "kernels/cuda/refine/refine.cuh"

static const float RIDGE = 1e-4f; /* of the mean of A's diagonal */

/* slope[group] = the dot of codes minus zeros and gradients over the group's columns */
__global__ void slope_kernel(const struct refine_args a) {
    int row = blockIdx.x * 128 + threadIdx.x, group = blockIdx.y;
    size_t g = blockIdx.z, at = refine_at(a, g) + row, grid = refine_grids(a, g);
    const int *members = a.members + g * a.n + (size_t)group * a.groupsize;
    float zero, sum = 0.0f;

    if (row >= a.rows)
        return;
    grid += (size_t)group * a.rows + row;
    zero = (float)a.zeros[grid];
#pragma unroll 4
    for (int k = 0; k < a.groupsize; k++) {
        size_t i = at + (size_t)members[k] * a.rows;

        sum += ((float)a.codes[i] - zero) * a.gradient[i];
    }
    a.slope[grid] = sum;
}

/* panel[k][j] = H[member k of group][member j], high; the same further down, low */
__global__ void panel_kernel(const struct refine_args a, int group, int columns) {
    int j = blockIdx.x * 128 + threadIdx.x, k = blockIdx.y;
    size_t g = blockIdx.z, to = g * 2 * a.groupsize * a.n + (size_t)k * a.n + j;
    const int *members = a.members + g * a.n;
    size_t from;

    if (j >= columns)
        return;
    from = (g * a.n + members[(size_t)group * a.groupsize + k]) * a.n + members[j];
    a.panel[to] = a.high[from];
    a.panel[to + (size_t)a.groupsize * a.n] = a.low[from];
}

/* steps[k][row] = code minus zero of member k of the group; the same further down */
__global__ void steps_kernel(const struct refine_args a, int group) {
    int row = blockIdx.x * 128 + threadIdx.x, k = blockIdx.y;
    size_t g = blockIdx.z, to = (g * 2 * a.groupsize + k) * a.rows + row;
    bf16 value;

    if (row >= a.rows)
        return;
    k = a.members[g * a.n + (size_t)group * a.groupsize + k];
    value = __float2bfloat16_rn((float)a.codes[refine_at(a, g) + (size_t)k * a.rows + row] -
                                (float)a.zeros[refine_grids(a, g) + (size_t)group * a.rows + row]);
    a.steps[to] = value;
    a.steps[to + (size_t)a.groupsize * a.rows] = value;
}

__device__ __forceinline__ size_t element(const struct refine_args &a, int i, int j) {
    return ((size_t)i * (i + 1) / 2 + j) * a.rows;
}

/* A[group][other], other <= group: the columns of `other` in `product` with its codes. */
__global__ void system_kernel(const struct refine_args a, int group) {
    int row = blockIdx.x * 128 + threadIdx.x, other = blockIdx.y;
    size_t g = blockIdx.z, first = (size_t)other * a.groupsize;
    const int *members = a.members + g * a.n + first;
    const float *product = a.product + refine_at(a, g) + first * a.rows + row;
    const unsigned char *codes = a.codes + refine_at(a, g) + row;
    float zero, sum = 0.0f;

    if (row >= a.rows)
        return;
    zero = (float)a.zeros[refine_grids(a, g) + (size_t)other * a.rows + row];
#pragma unroll 4
    for (int k = 0; k < a.groupsize; k++)
        sum += ((float)codes[(size_t)members[k] * a.rows] - zero) * product[(size_t)k * a.rows];
    a.system[g * element(a, a.n_groups, 0) + element(a, group, other) + row] = sum;
}

/* One row's system and vectors, as its thread sees them. */
struct row_system {
    float *system, *slope, *step;
    size_t rows;
    int n;
};

__device__ __forceinline__ float &at(const struct row_system &r, int i, int j) {
    return r.system[((size_t)i * (i + 1) / 2 + j) * r.rows];
}

/* A + ridge = L L', in place. Returns the ridge; negative when a pivot is not positive. */
__device__ float factor_row(const struct row_system &r) {
    float ridge = 0.0f;

    for (int i = 0; i < r.n; i++)
        ridge += at(r, i, i);
    ridge *= RIDGE / r.n;
    for (int i = 0; i < r.n; i++) {
        for (int j = 0; j <= i; j++) {
            float sum = at(r, i, j) + (i == j ? ridge : 0.0f);

#pragma unroll 4
            for (int k = 0; k < j; k++)
                sum -= at(r, i, k) * at(r, j, k);
            if (i == j && !(sum > 0.0f && sum < INFINITY))
                return -1.0f;
            at(r, i, j) = i == j ? sqrtf(sum) : sum / at(r, j, j);
        }
    }
    return ridge;
}

/* step = -inv(L L') slope */
__device__ void substitute_row(const struct row_system &r) {
    for (int i = 0; i < r.n; i++) {
        float sum = -r.slope[i * r.rows];

#pragma unroll 4
        for (int k = 0; k < i; k++)
            sum -= at(r, i, k) * r.step[k * r.rows];
        r.step[i * r.rows] = sum / at(r, i, i);
    }
    for (int i = r.n - 1; i >= 0; i--) {
        float sum = r.step[i * r.rows];

#pragma unroll 4
        for (int k = i + 1; k < r.n; k++)
            sum -= at(r, k, i) * r.step[k * r.rows];
        r.step[i * r.rows] = sum / at(r, i, i);
    }
}

/* The change of the objective by the step: 2 slope step + step A step, with A = L L' - ridge. */
__device__ float change_of_row(const struct row_system &r, float ridge) {
    float change = 0.0f;

    for (int i = 0; i < r.n; i++) {
        float step = r.step[i * r.rows], sum = 0.0f;

#pragma unroll 4
        for (int k = i; k < r.n; k++)
            sum += at(r, k, i) * r.step[k * r.rows];
        change += 2.0f * r.slope[i * r.rows] * step - ridge * step * step + sum * sum;
    }
    return change;
}

__global__ void solve_kernel(const struct refine_args a) {
    size_t row = blockIdx.x * 64 + threadIdx.x, g = blockIdx.y, grids = refine_grids(a, g) + row;
    __half *scales = a.scales + grids;
    struct row_system r = {a.system + g * element(a, a.n_groups, 0) + row, a.slope + grids,
                           a.step + grids, (size_t)a.rows, a.n_groups};
    float ridge;

    if (row >= a.rows)
        return;
    ridge = factor_row(r);
    if (ridge < 0.0f)
        return;
    substitute_row(r);
    for (int i = 0; i < r.n; i++) {
        float old = __half2float(scales[i * r.rows]);
        float scale = round_scale(old + r.step[i * r.rows]);

        r.step[i * r.rows] = scale >= 0.5f * old && scale <= 1.5f * old ? scale - old : 0.0f;
    }
    if (!(change_of_row(r, ridge) < 0.0f))
        return;
    for (int i = 0; i < r.n; i++)
        scales[i * r.rows] = __float2half_rn(__half2float(scales[i * r.rows]) + r.step[i * r.rows]);
}

int refine_scales(struct cuda_backend *b, const struct refine_args &a) {
    cudaStream_t stream = b->lanes[0].stream;
    unsigned rows = blocks_for(a.rows, 128);

    slope_kernel<<<dim3(rows, a.n_groups, a.G), 128, 0, stream>>>(a);
    LAUNCH_TRY(b);
    for (int group = 0; group < a.n_groups; group++) {
        int columns = (group + 1) * a.groupsize;

        panel_kernel<<<dim3(blocks_for(columns, 128), a.groupsize, a.G), 128, 0, stream>>>(a, group,
                                                                                           columns);
        LAUNCH_TRY(b);
        steps_kernel<<<dim3(rows, a.groupsize, a.G), 128, 0, stream>>>(a, group);
        LAUNCH_TRY(b);
        TRY(refine_product(b, a, a.product, (size_t)a.n * a.rows, a.steps,
                           (size_t)2 * a.groupsize * a.rows, a.panel, a.n,
                           (size_t)2 * a.groupsize * a.n, columns, 2 * a.groupsize, 0.0f));
        system_kernel<<<dim3(rows, group + 1, a.G), 128, 0, stream>>>(a, group);
        LAUNCH_TRY(b);
    }
    solve_kernel<<<dim3(blocks_for(a.rows, 64), a.G), 64, 0, stream>>>(a);
    LAUNCH_TRY(b);
    return 0;
}
