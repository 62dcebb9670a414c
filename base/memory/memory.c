// SPDX-License-Identifier: Apache-2.0
#include "base/memory/memory.h"

#include "base/macros.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#define HUGE ((size_t)2 << 20) /* a huge page; also the size from which one is worth asking for */

void *memory_room(size_t size) {
    void *room;

    if (size > SIZE_MAX - HUGE)
        return NULL;
    if (size < HUGE)
        return malloc(MAX(size, (size_t)1));
    room = aligned_alloc(HUGE, ALIGN_UP(size, HUGE));
    if (room)
        madvise(room, ALIGN_UP(size, HUGE), MADV_HUGEPAGE);
    return room;
}
