// SPDX-License-Identifier: Apache-2.0
/*
 * The newest events as frames, for streams that are up to date: what a hundred of them send is
 * read and written out once. Not thread-safe: the fan-out's lock is around it.
 */
#pragma once

#include "api/stream/frame.h"

#define RECENT_EVENTS 256
#define RECENT_BYTES ((size_t)2 << 20) /* of text, but one event at least */

/* Zero-initialise; recent_clear() before the first use. */
struct recent {
    struct frame *frames[RECENT_EVENTS]; /* a ring; ascending seq */
    size_t first, n, bytes;
    uint64_t floor;  /* every event after it is here, ... */
    uint64_t newest; /* ... up to this one */
};

/* recent_clear() - forget all; what comes next comes after event @floor. */
void recent_clear(struct recent *recent, uint64_t floor);

/* recent_add() - the next event; @frame is taken over. The oldest ones make room. */
void recent_add(struct recent *recent, struct frame *frame);

/*
 * recent_take() - the next events after *cursor, of @job or of all (0), as frames that the caller
 * then uses: at most @max, and no more once they have @max_bytes together. With a change of the
 * state of @job it stops. *cursor moves behind what was looked at. *ret_more: there may be more.
 * Return: how many; -ESTALE: what comes next is not here, or not for all viewers: the store has it.
 */
int recent_take(const struct recent *recent, int64_t job, uint64_t *cursor,
                struct frame **ret_frames, int max, size_t max_bytes, bool *ret_more);
