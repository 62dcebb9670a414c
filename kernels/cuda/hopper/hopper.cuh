// SPDX-License-Identifier: Apache-2.0
/*
 * What kernels for Hopper (compute capability 9.0) share: barriers in shared memory, copies of
 * tiles by tensor map (TMA), products of a warpgroup (wgmma) and their descriptors.
 *
 * A tile in shared memory is made of panels of 64 columns of bf16: a row of a panel has 128 bytes,
 * rows follow one another, and 16-byte chunks are swizzled by row, as CU_TENSOR_MAP_SWIZZLE_128B
 * does. A panel starts at a multiple of 1024 bytes. Addresses of shared memory are 32-bit ones.
 *
 * The code needs sm_90a, for which meson.build compiles when gpu_arch has 90. For other
 * architectures only what the host calls is there, and kernels are empty.
 */
#pragma once

#include "kernels/cuda/device.cuh"

#include <cuda.h>

enum {
    WARPGROUP = 128,       /* threads */
    PANEL = 64,            /* columns */
    PANEL_ROW = PANEL * 2, /* bytes */
};

/* -------- on the host (hopper.cu) -------- */

/* A view of bf16 in device memory: extents, inner first; strides of all but the first, in bytes. */
struct tile_view {
    const void *at; /* aligned to 16 bytes, as are strides */
    int n_dims;
    uint64_t extent[5];
    uint64_t stride[4];
    unsigned box[5]; /* what one copy moves; box[0] is at most PANEL */
};

/* A map for copies of boxes of @view; what lies outside of the view is read as 0. */
int tensor_map(struct cuda_backend *b, const struct tile_view &view, CUtensorMap *ret_map);

/* Can @kernel, whose code needs sm_90a, run on the backend's device? */
bool hopper_runs(struct cuda_backend *b, const void *kernel);

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

/* -------- barriers -------- */

__device__ __forceinline__ void barrier_init(unsigned barrier, unsigned arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(barrier), "r"(arrivals)
                 : "memory");
}

/* Makes fresh barriers known to the copy engine; then __syncthreads(). */
__device__ __forceinline__ void barrier_init_done() {
    asm volatile("fence.mbarrier_init.release.cluster;\n" ::: "memory");
}

__device__ __forceinline__ void barrier_arrive(unsigned barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];\n" ::"r"(barrier) : "memory");
}

/* Arrives, and lets the phase wait for @bytes of copies. */
__device__ __forceinline__ void barrier_expect(unsigned barrier, unsigned bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(barrier),
                 "r"(bytes)
                 : "memory");
}

/* Waits for the end of the phase of that parity: 0 for the first one. */
__device__ __forceinline__ void barrier_wait(unsigned barrier, unsigned parity) {
    unsigned done;

    do {
        asm volatile("{\n"
                     ".reg .pred done;\n"
                     "mbarrier.try_wait.parity.shared::cta.b64 done, [%1], %2;\n"
                     "selp.u32 %0, 1, 0, done;\n"
                     "}\n"
                     : "=r"(done)
                     : "r"(barrier), "r"(parity)
                     : "memory");
    } while (!done);
}

/* A place in a ring of SLOTS buffers; @turn changes at each round. */
template <int SLOTS> struct ring_place {
    int slot;
    unsigned turn;

    __device__ __forceinline__ void advance() {
        if (++slot == SLOTS) {
            slot = 0;
            turn ^= 1;
        }
    }
};

/* -------- copies -------- */

/* Copies the box at those coordinates to shared memory; its bytes arrive at @barrier. */
__device__ __forceinline__ void copy_box(unsigned to, const CUtensorMap *map, unsigned barrier,
                                         int c0, int c1, int c2, int c3) {
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%3, %4, %5, %6}], [%2];\n" ::"r"(to),
                 "l"(map), "r"(barrier), "r"(c0), "r"(c1), "r"(c2), "r"(c3)
                 : "memory");
}

__device__ __forceinline__ void prefetch_map(const CUtensorMap *map) {
    asm volatile("prefetch.tensormap [%0];\n" ::"l"(map) : "memory");
}

/* -------- registers of a warpgroup -------- */

template <int COUNT> __device__ __forceinline__ void registers_drop() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;\n" ::"n"(COUNT));
}

template <int COUNT> __device__ __forceinline__ void registers_raise() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"(COUNT));
}

/* -------- products -------- */

/*
 * Descriptor of a tile of panels at @at. K-major (a row has one m or n, columns are k): the step
 * is of no use. MN-major (a row has one k): @step is the distance of two panels in bytes.
 */
__device__ __forceinline__ uint64_t describe(unsigned at, unsigned step = 16) {
    enum : uint64_t { EIGHT_ROWS = 8 * PANEL_ROW, SWIZZLE_128B = 1 };

    return (uint64_t)(at >> 4) | (uint64_t)(step >> 4) << 16 | (EIGHT_ROWS >> 4) << 32 |
           SWIZZLE_128B << 62;
}

/* Before the first product and after registers of one were touched. */
__device__ __forceinline__ void products_begin() {
    asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory");
}

/* Ends a group of products. */
__device__ __forceinline__ void products_end() {
    asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory");
}

#define REGISTERS_8(d, i)                                                                          \
    "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]),    \
        "+f"(d[i + 6]), "+f"(d[i + 7])
#define REGISTERS_32(d, i)                                                                         \
    REGISTERS_8(d, i), REGISTERS_8(d, i + 8), REGISTERS_8(d, i + 16), REGISTERS_8(d, i + 24)
#define REGISTERS_64(d) REGISTERS_32(d, 0), REGISTERS_32(d, 32)
#define NAMES_32                                                                                   \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, "   \
    "%20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define NAMES_64                                                                                   \
    NAMES_32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "  \
             "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define REGISTERS_128(d)                                                                           \
    REGISTERS_32(d, 0), REGISTERS_32(d, 32), REGISTERS_32(d, 64), REGISTERS_32(d, 96)
#define NAMES_128                                                                                  \
    NAMES_64 ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "  \
             "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "    \
             "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, "    \
             "%110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, "      \
             "%123, %124, %125, %126, %127"

/* Waits until at most PENDING groups of products are under way; @d is then there. */
template <int PENDING> __device__ __forceinline__ void products_wait(float (&d)[64]) {
    asm volatile("wgmma.wait_group.sync.aligned %64;\n"
                 : REGISTERS_64(d)
                 : "n"(PENDING)
                 : "memory");
}

template <int PENDING> __device__ __forceinline__ void products_wait(float (&d)[32]) {
    asm volatile("wgmma.wait_group.sync.aligned %32;\n"
                 : REGISTERS_32(d, 0)
                 : "n"(PENDING)
                 : "memory");
}

template <int PENDING> __device__ __forceinline__ void products_wait(float (&d)[128]) {
    asm volatile("wgmma.wait_group.sync.aligned %128;\n"
                 : REGISTERS_128(d)
                 : "n"(PENDING)
                 : "memory");
}

/*
 * d [64, 128] = a b' (+ d with @add), 16 columns of k: a [64, k] and b [128, k], both K-major.
 * Of d, a thread has d[4 j + 2 h + c]: row 16 warp + lane / 4 + 8 h, column 8 j + lane % 4 * 2 + c.
 */
__device__ __forceinline__ void multiply(float (&d)[64], uint64_t a, uint64_t b, bool add) {
    asm volatile("{\n"
                 ".reg .pred add;\n"
                 "setp.ne.b32 add, %66, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" NAMES_64 "}, %64, %65, "
                 "add, 1, 1, 0, 0;\n"
                 "}\n"
                 : REGISTERS_64(d)
                 : "l"(a), "l"(b), "r"((int)add));
}

/* d [64, 256] = a b' (+ d with @add), 16 columns of k; as the narrower one above */
__device__ __forceinline__ void multiply(float (&d)[128], uint64_t a, uint64_t b, bool add) {
    asm volatile("{\n"
                 ".reg .pred add;\n"
                 "setp.ne.b32 add, %130, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {" NAMES_128 "}, "
                 "%128, %129, add, 1, 1, 0, 0;\n"
                 "}\n"
                 : REGISTERS_128(d)
                 : "l"(a), "l"(b), "r"((int)add));
}

/* d [64, n] = a b (+ d with @add), 16 rows of k: a in registers, as mma has it; b [k, n], MN-major
 */
__device__ __forceinline__ void multiply_from_registers(float (&d)[64], const unsigned a[4],
                                                        uint64_t b, bool add) {
    asm volatile("{\n"
                 ".reg .pred add;\n"
                 "setp.ne.b32 add, %69, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" NAMES_64 "}, "
                 "{%64, %65, %66, %67}, %68, add, 1, 1, 1;\n"
                 "}\n"
                 : REGISTERS_64(d)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)add));
}

__device__ __forceinline__ void multiply_from_registers(float (&d)[32], const unsigned a[4],
                                                        uint64_t b, bool add) {
    asm volatile("{\n"
                 ".reg .pred add;\n"
                 "setp.ne.b32 add, %37, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" NAMES_32 "}, "
                 "{%32, %33, %34, %35}, %36, add, 1, 1, 1;\n"
                 "}\n"
                 : REGISTERS_32(d, 0)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)add));
}

#endif
