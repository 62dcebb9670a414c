// SPDX-License-Identifier: Apache-2.0
/*
 * One piece of device memory cut into arrays. A layout function takes its arrays twice: first
 * without memory, to add up the size, then from what arena_alloc() got.
 */
#pragma once

#include "base/checked.h"
#include "base/macros.h"
#include "kernels/backend.h"

#include <errno.h>

struct arena {
    struct span all; /* empty in the first round */
    size_t size;     /* bytes taken so far */
    bool failed;     /* a size did not fit */
};

/* The next array of @rows x @columns elements of @element bytes, aligned to 256. */
static inline void arena_take(struct arena *arena, struct span *ret_span, size_t element,
                              size_t rows, size_t columns) {
    size_t size = 0, end = 0;

    arena->failed |= checked_mul(rows, columns, &size) || checked_mul(size, element, &size) ||
                     checked_add(arena->size, size, &end) || end > SIZE_MAX / 2;
    *ret_span = arena->all.at ? span_slice(arena->all, arena->size, size) : (struct span){};
    arena->size = ALIGN_UP(end, 256);
}

/* Bytes of the first round; SIZE_MAX when they do not fit. */
static inline size_t arena_size(const struct arena *arena) {
    return arena->failed ? SIZE_MAX : MAX(arena->size, (size_t)256);
}

/* Gets the memory for a second round. The caller frees *ret_all. Return: 0 or -errno. */
static inline int arena_alloc(struct backend *b, struct arena *arena, struct span *ret_all) {
    int r = arena->failed ? -ENOMEM : b->ops->alloc(b, arena_size(arena), &arena->all);

    if (r)
        return r;
    *ret_all = arena->all;
    arena->size = 0;
    return 0;
}
