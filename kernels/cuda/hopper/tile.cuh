// SPDX-License-Identifier: Apache-2.0
/*
 * The loop of a product whose tiles have 128 rows and 256 columns, for kernels for Hopper of three
 * warpgroups: the first brings 64 columns of k of both operands at a time into a ring of slots in
 * shared memory, the others multiply, 64 rows each. The ring starts at offset 0, its barriers
 * follow, and what a kernel has itself starts at RING_END.
 */
#pragma once

#include "kernels/cuda/hopper/hopper.cuh"

enum {
    ROWS = 128,
    COLUMNS = 256,
    SLOTS = 4,
    THREADS = 3 * WARPGROUP,
    WARPS = 2 * WARPGROUP / 32, /* that multiply */
    A_BYTES = ROWS * PANEL_ROW,
    B_BYTES = COLUMNS * PANEL_ROW,
    SLOT_BYTES = A_BYTES + B_BYTES, /* a, then b, both K-major */
};

/* Where things are in shared memory. */
enum {
    FULL = SLOTS * SLOT_BYTES, /* barriers of slots */
    FREE = FULL + SLOTS * 8,
    RING_END = FREE + SLOTS * 8,
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

/* By one thread, before all of the block meet; a slot is full after @arrivals, and its bytes. */
__device__ __forceinline__ void ring_init(unsigned shared, unsigned arrivals) {
    for (int i = 0; i < SLOTS; i++) {
        barrier_init(shared + FULL + i * 8, arrivals);
        barrier_init(shared + FREE + i * 8, WARPS);
    }
    barrier_init_done();
}

/* Where the warpgroup that fills the ring starts. */
__device__ __forceinline__ struct ring_place<SLOTS> ring_first_free() {
    return {0, 1};
}

/* This warp reads the slot no more. */
__device__ __forceinline__ void
ring_leave(unsigned shared, int slot) {
    if (threadIdx.x % 32 == 0)
        barrier_arrive(shared + FREE + slot * 8);
}

/*
 * d = the part of a tile of warpgroup @group (0 or 1) of those that multiply, from the next
 * @n_steps slots. The last products are still under way: ring_end_tile() waits for them.
 * Returns the slot that they read.
 */
__device__ __forceinline__ int ring_multiply(float (&d)[128], unsigned shared, int group,
                                             int n_steps, struct ring_place<SLOTS> &place) {
    int previous = -1;

    for (int step = 0; step < n_steps; step++) {
        unsigned slot = shared + place.slot * SLOT_BYTES;
        uint64_t a = describe(slot + group * (A_BYTES / 2)), b = describe(slot + A_BYTES);

        barrier_wait(shared + FULL + place.slot * 8, place.turn);
        products_begin();
#pragma unroll
        for (int i = 0; i < PANEL / 16; i++)
            multiply(d, a + 2 * i, b + 2 * i, step || i);
        products_end();
        products_wait<1>(d);
        if (previous >= 0)
            ring_leave(shared, previous);
        previous = place.slot;
        place.advance();
    }
    return previous;
}

__device__ __forceinline__ void ring_end_tile(float (&d)[128], unsigned shared, int slot) {
    products_wait<0>(d);
    ring_leave(shared, slot);
}

#endif
