// SPDX-License-Identifier: Apache-2.0
/*
 * Bytes that event streams send: made once, shared by all streams that send the same, never
 * changed. Any thread.
 */
#pragma once

#include "base/cleanup.h"

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct frame {
    atomic_int n_users;
    uint64_t seq;     /* of a stored event; else 0 */
    int64_t job;      /* that it is about */
    bool is_state;    /* a change of the job's state: perhaps its last event */
    bool is_public;   /* of a job that is not private; the fan-out fills it in */
    size_t data_at;   /* the data of a progress, within text: to compare two of them */
    size_t data_size; /* bytes */
    size_t size;      /* bytes of text */
    char text[];
};

/* frame_event() - @event, {seq, job, type, at, data}, as it is sent. NULL: out of memory. */
struct frame *frame_event(const json_t *event);

/* frame_progress() - the progress of @job, a job object, of now. NULL: out of memory, or none. */
struct frame *frame_progress(const json_t *job);

/* frame_text() - any other text of @size bytes. NULL: out of memory. */
struct frame *frame_text(const char *text, size_t size);

/* frame_same_data() - do two frames of progress hold the same? NULL holds nothing. */
bool frame_same_data(const struct frame *a, const struct frame *b);

/* frame_use() - one more user of @frame. Return: @frame. */
struct frame *frame_use(struct frame *frame);
void frame_free(struct frame *frame); /* one user fewer; NULL is fine */

DEFINE_CLEANUP(struct frame *, frame_freep, frame_free)

struct strbuf;

/*
 * frame_put() - append one event of the wire format. @id 0: without an id. The data takes one
 * line, as JSON text never has a line end in it. What fails, fails @out.
 */
void frame_put(struct strbuf *out, uint64_t id, const char *type, const json_t *data);
