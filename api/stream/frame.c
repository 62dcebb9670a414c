// SPDX-License-Identifier: Apache-2.0
#include "api/stream/frame.h"

#include "api/wire.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/str.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void frame_put(struct strbuf *out, uint64_t id, const char *type, const json_t *data) {
    cleanup(freep) char *text = json_text(data, JSON_COMPACT);

    if (!text) {
        out->failed = true;
        return;
    }
    if (id)
        strbuf_printf(out, "id: %" PRIu64 "\n", id);
    strbuf_puts(out, "event: ");
    strbuf_append(out, type, strcspn(type, "\r\n"));
    strbuf_puts(out, "\ndata: ");
    strbuf_puts(out, text);
    strbuf_puts(out, "\n\n");
}

struct frame *frame_text(const char *text, size_t size) {
    struct frame *frame = malloc(sizeof(*frame) + size);

    if (!frame)
        return NULL;
    *frame = (struct frame){.size = size};
    atomic_init(&frame->n_users, 1);
    memcpy(frame->text, text, size);
    return frame;
}

static struct frame *frame_of(struct strbuf *out) {
    struct frame *frame = out->failed ? NULL : frame_text(out->data, out->length);

    strbuf_done(out);
    return frame;
}

struct frame *frame_event(const json_t *event) {
    const char *type = json_string_value(json_object_get(event, "type"));
    uint64_t seq = (uint64_t)json_integer_value(json_object_get(event, "seq"));
    struct strbuf out = {};
    struct frame *frame;

    frame_put(&out, seq, type ? type : "message", event);
    frame = frame_of(&out);
    if (!frame)
        return NULL;
    frame->seq = seq;
    frame->job = json_integer_value(json_object_get(event, "job"));
    frame->is_state = type && str_has_prefix(type, "job.");
    return frame;
}

struct frame *frame_progress(const json_t *job) {
    json_t *progress = json_object_get(job, "progress");
    cleanup(freep) char *text = json_is_object(progress) ? json_text(progress, JSON_COMPACT) : NULL;
    int64_t id = json_integer_value(json_object_get(job, "id"));
    char at[CLOCK_TEXT_SIZE];
    struct strbuf out = {};
    struct frame *frame;
    size_t data_at;

    if (!text)
        return NULL;
    clock_format(clock_wall_ms(), at);
    strbuf_printf(&out,
                  "event: " WIRE_EVENT_PROGRESS "\ndata: {\"job\":%" PRId64
                  ",\"type\":\"" WIRE_EVENT_PROGRESS "\",\"at\":\"%s\",\"data\":",
                  id, at);
    data_at = out.length;
    strbuf_puts(&out, text);
    strbuf_puts(&out, "}\n\n");
    frame = frame_of(&out);
    if (!frame)
        return NULL;
    frame->job = id;
    frame->data_at = data_at;
    frame->data_size = strlen(text);
    return frame;
}

bool frame_same_data(const struct frame *a, const struct frame *b) {
    return a && b && a->data_size == b->data_size &&
           memcmp(a->text + a->data_at, b->text + b->data_at, a->data_size) == 0;
}

struct frame *frame_use(struct frame *frame) {
    atomic_fetch_add(&frame->n_users, 1);
    return frame;
}

void frame_free(struct frame *frame) {
    if (frame && atomic_fetch_sub(&frame->n_users, 1) == 1)
        free(frame);
}
