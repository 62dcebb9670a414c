// SPDX-License-Identifier: Apache-2.0
/*
 * Codes to weights and to files: dequantize(), pack(), unpack(). Bandwidth work.
 *
 * pack: a warp is 32 neighbouring rows, a thread 32 codes of its row: two 16-byte reads (a whole
 * 32-byte sector), then wbits words, each 128 neighbouring bytes over the warp. unpack is its
 * mirror. Little end first; the 3-bit layout is 96 consecutive bits in 3 words, the same rule.
 */
#include "kernels/cuda/grid.cuh"

__global__ void dequantize_kernel(bf16 *__restrict__ w, const unsigned char *__restrict__ codes,
                                  const __half *__restrict__ scales,
                                  const unsigned char *__restrict__ zeros,
                                  const int *__restrict__ g_idx, struct grid_units units,
                                  int n_groups, int rows, int n, bool aligned) {
    size_t g = blockIdx.z;
    int i0 = (blockIdx.x * blockDim.x + threadIdx.x) * 8;

    if (i0 >= n)
        return;
    for (int row = blockIdx.y * 16; row < rows && row < (int)blockIdx.y * 16 + 16; row++) {
        size_t at = (g * rows + row) * n + i0;
        float v[8];
        uint2 eight = {0, 0};

        if (aligned)
            eight = *(const uint2 *)(codes + at);
        else
            for (int k = 0; k < 8 && i0 + k < n; k++)
                (k < 4 ? eight.x : eight.y) |= (unsigned)codes[at + k] << k % 4 * 8;
#pragma unroll
        for (int k = 0; k < 8; k++) {
            int group = i0 + k < n ? g_idx[g * n + i0 + k] : 0;
            size_t grids = g * n_groups * rows + row, supers = g * (n / GRID_SUPER) * rows + row;
            float code = (float)((k < 4 ? eight.x : eight.y) >> k % 4 * 8 & 0xff);

            v[k] =
                grid_weight(code, grid_at(scales + grids, zeros + grids, units_from(units, supers),
                                          min(max(group, 0), n_groups - 1), rows));
        }
        store8(w + at, v, n - i0, aligned);
    }
}

int cuda_dequantize(struct backend *base, struct span w, const struct quantized *q, int n_groups,
                    int G, int rows, int n) {
    struct cuda_backend *b = cuda_of(base);

    TRY(op_begin(b, "dequantize", "G rows n n_groups", G, rows, n, n_groups));
    if (G < 1 || rows < 1 || n < 1 || n_groups < 1 || G > 65535 || rows > 65535 * 16)
        return status_invalid(b, "1 to 65535 matrices of at most %d rows", 65535 * 16);
    TRY(op_needs(b, {{"w", w, bytes_of(2, {G, rows, n}), 2},
                     {"codes", q->codes, bytes_of(1, {G, rows, n}), 1},
                     {"scales", q->scales, bytes_of(2, {G, n_groups, rows}), 2},
                     {"zeros", q->zeros, bytes_of(1, {G, n_groups, rows}), 1},
                     {"g_idx", q->g_idx, bytes_of(4, {G, n}), 4}}));
    if (q->d.size && (n % n_groups || GRID_SUPER % (n / n_groups)))
        return status_invalid(b, "%d groups of %d columns are no parts of super-blocks", n_groups,
                              n);
    if (q->d.size)
        TRY(grid_needs(b, q, n / n_groups, G, rows, n));
    dequantize_kernel<<<dim3(blocks_for(n, 1024), blocks_for(rows, 16), G), 128, 0,
                        b->lanes[0].stream>>>(
        (bf16 *)w.at, q->codes.at, (const __half *)q->scales.at, q->zeros.at,
        (const int *)q->g_idx.at, grid_units(q, n / n_groups, 0, rows, n), n_groups, rows, n,
        n % 8 == 0 && aligned16(w.at) && aligned16(q->codes.at));
    LAUNCH_TRY(b);
    return 0;
}

template <int WBITS>
__global__ void pack_kernel(unsigned *__restrict__ packed, const unsigned char *__restrict__ codes,
                            int rows, int n, bool aligned) {
    int row = blockIdx.x * 32 + threadIdx.x, chunk = blockIdx.y * blockDim.y + threadIdx.y;
    size_t matrix = blockIdx.z;
    const unsigned char *from = codes + (matrix * rows + row) * n + (size_t)chunk * 32;
    unsigned *to = packed + (matrix * (n / 32) + chunk) * WBITS * rows + row;
    alignas(16) unsigned char c[32];
    unsigned words[WBITS] = {};

    if (row >= rows || chunk >= n / 32)
        return;
    if (aligned) {
        ((uint4 *)c)[0] = ((const uint4 *)from)[0];
        ((uint4 *)c)[1] = ((const uint4 *)from)[1];
    } else {
#pragma unroll
        for (int i = 0; i < 32; i++)
            c[i] = from[i];
    }
#pragma unroll
    for (int i = 0; i < 32; i++) {
        unsigned code = c[i] & ((1u << WBITS) - 1);
        int bit = i * WBITS;

        words[bit / 32] |= code << bit % 32;
        if (bit % 32 + WBITS > 32)
            words[bit / 32 + 1] |= code >> (32 - bit % 32);
    }
#pragma unroll
    for (int i = 0; i < WBITS; i++)
        to[(size_t)i * rows] = words[i];
}

template <int WBITS>
__global__ void unpack_kernel(unsigned char *__restrict__ codes,
                              const unsigned *__restrict__ packed, int rows, int n, bool aligned) {
    int row = blockIdx.x * 32 + threadIdx.x, chunk = blockIdx.y * blockDim.y + threadIdx.y;
    size_t matrix = blockIdx.z;
    unsigned char *to = codes + (matrix * rows + row) * n + (size_t)chunk * 32;
    const unsigned *from = packed + (matrix * (n / 32) + chunk) * WBITS * rows + row;
    alignas(16) unsigned char c[32];
    unsigned words[WBITS + 1] = {};

    if (row >= rows || chunk >= n / 32)
        return;
#pragma unroll
    for (int i = 0; i < WBITS; i++)
        words[i] = from[(size_t)i * rows];
#pragma unroll
    for (int i = 0; i < 32; i++) {
        int bit = i * WBITS;

        c[i] =
            __funnelshift_r(words[bit / 32], words[bit / 32 + 1], bit % 32) & ((1u << WBITS) - 1);
    }
    if (aligned) {
        ((uint4 *)to)[0] = ((const uint4 *)c)[0];
        ((uint4 *)to)[1] = ((const uint4 *)c)[1];
    } else {
#pragma unroll
        for (int i = 0; i < 32; i++)
            to[i] = c[i];
    }
}

static int check_pack(struct cuda_backend *b, struct span packed, struct span codes, int wbits,
                      int N, int rows, int n) {
    if (N < 1 || rows < 1 || n < 32 || n % 32 || N > 65535 || n / 32 > 65535 * 8)
        return status_invalid(b, "1 to 65535 matrices, columns a multiple of 32");
    if (wbits != 2 && wbits != 3 && wbits != 4 && wbits != 8)
        return status_invalid(b, "wbits is not 2, 3, 4 or 8");
    return op_needs(b, {{"packed", packed, bytes_of(4, {N, n / 32, wbits, rows}), 4},
                        {"codes", codes, bytes_of(1, {N, rows, n}), 1}});
}

int cuda_pack(struct backend *base, struct span packed, struct span codes, int wbits, int N,
              int rows, int n) {
    struct cuda_backend *b = cuda_of(base);
    auto kernel = wbits == 2   ? pack_kernel<2>
                  : wbits == 3 ? pack_kernel<3>
                  : wbits == 4 ? pack_kernel<4>
                               : pack_kernel<8>;

    TRY(op_begin(b, "pack", "wbits N rows n", wbits, N, rows, n));
    TRY(check_pack(b, packed, codes, wbits, N, rows, n));
    kernel<<<dim3(blocks_for(rows, 32), blocks_for(n / 32, 8), N), dim3(32, 8), 0,
             b->lanes[0].stream>>>((unsigned *)packed.at, codes.at, rows, n, aligned16(codes.at));
    LAUNCH_TRY(b);
    return 0;
}

int cuda_unpack(struct backend *base, struct span codes, struct span packed, int wbits, int N,
                int rows, int n) {
    struct cuda_backend *b = cuda_of(base);
    auto kernel = wbits == 2   ? unpack_kernel<2>
                  : wbits == 3 ? unpack_kernel<3>
                  : wbits == 4 ? unpack_kernel<4>
                               : unpack_kernel<8>;

    TRY(op_begin(b, "unpack", "wbits N rows n", wbits, N, rows, n));
    TRY(check_pack(b, packed, codes, wbits, N, rows, n));
    kernel<<<dim3(blocks_for(rows, 32), blocks_for(n / 32, 8), N), dim3(32, 8), 0,
             b->lanes[0].stream>>>(codes.at, (const unsigned *)packed.at, rows, n,
                                   aligned16(codes.at));
    LAUNCH_TRY(b);
    return 0;
}
