// SPDX-License-Identifier: Apache-2.0
#include "api/stream/recent.h"

#include <errno.h>

static struct frame *frame_at(const struct recent *recent, size_t i) {
    return recent->frames[(recent->first + i) % RECENT_EVENTS];
}

static void drop_oldest(struct recent *recent) {
    struct frame *frame = frame_at(recent, 0);

    recent->floor = frame->seq;
    recent->bytes -= frame->size;
    recent->first = (recent->first + 1) % RECENT_EVENTS;
    recent->n--;
    frame_free(frame);
}

void recent_clear(struct recent *recent, uint64_t floor) {
    while (recent->n > 0)
        drop_oldest(recent);
    recent->floor = recent->newest = floor;
}

void recent_add(struct recent *recent, struct frame *frame) {
    while (recent->n > 0 &&
           (recent->n == RECENT_EVENTS || recent->bytes + frame->size > RECENT_BYTES))
        drop_oldest(recent);
    recent->frames[(recent->first + recent->n++) % RECENT_EVENTS] = frame;
    recent->bytes += frame->size;
    recent->newest = frame->seq;
}

/* The first frame after @cursor: streams are mostly up to date, so from the end. */
static size_t find_after(const struct recent *recent, uint64_t cursor) {
    size_t i = recent->n;

    while (i > 0 && frame_at(recent, i - 1)->seq > cursor)
        i--;
    return i;
}

int recent_take(const struct recent *recent, int64_t job, uint64_t *cursor,
                struct frame **ret_frames, int max, size_t max_bytes, bool *ret_more) {
    size_t bytes = 0;
    int n = 0;

    if (*cursor < recent->floor)
        return -ESTALE;
    for (size_t i = find_after(recent, *cursor); i < recent->n; i++) {
        struct frame *frame = frame_at(recent, i);

        *ret_more = true;
        if (n == max || bytes >= max_bytes)
            return n;
        if (job && frame->job != job) {
            *cursor = frame->seq;
            continue;
        }
        /* The reader of one job was let in to all of it. */
        if (!job && !frame->is_public)
            return n ? n : -ESTALE;
        *cursor = frame->seq;
        ret_frames[n++] = frame_use(frame);
        bytes += frame->size;
        if (job && frame->is_state)
            return n;
    }
    *ret_more = false;
    return n;
}
