// SPDX-License-Identifier: Apache-2.0
/*
 * A parser of server-sent events (the HTML standard, section 9.2.6) that is fed as bytes arrive,
 * in pieces of any size. One parser is used by one thread.
 */
#pragma once

#include "base/failure.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>

#define SSE_LINE_MAX ((size_t)1 << 20) /* longest line in bytes, without its end */
#define SSE_DATA_MAX ((size_t)4 << 20) /* longest data of one event in bytes */
#define SSE_NAME_MAX 128               /* longest id or event type in bytes */

/* One event; borrowed from the parser for the time of the call. */
struct sse_event {
    const char *type; /* "message" when the event names none */
    const char *data; /* its data lines, joined by '\n'; a NUL follows that is not counted */
    size_t size;      /* bytes of data */
    const char *id;   /* the last id seen in the stream, of this event or before; "" if none */
};

/* Zero-initialise; only id and retry_ms are for others to read. */
struct sse_parser {
    char id[SSE_NAME_MAX + 1]; /* what to send as Last-Event-ID when reconnecting; "" if none */
    int retry_ms;              /* how long to wait before; 0 when the server did not say */

    struct strbuf line, data;
    char type[SSE_NAME_MAX + 1];
    int n_bom; /* bytes of a leading byte order mark seen, or -1 after the start */
    bool after_cr, has_data, failed;
};

/**
 * sse_parser_feed() - take the next bytes of a stream
 * @data:   @size bytes
 * @handle: called for every event that these bytes complete; a result other than 0 stops
 *
 * An event that is not complete when the stream ends is dropped, as the standard asks. An id that
 * holds a NUL, an id or type that is too long, and fields that are not known are ignored.
 *
 * Return: 0; what @handle returned; -EMSGSIZE for a line or event that is too long, or -ENOMEM.
 * After anything but 0 the parser takes no more.
 */
int sse_parser_feed(struct sse_parser *parser, const char *data, size_t size,
                    int (*handle)(void *ctx, const struct sse_event *event), void *ctx,
                    struct failure *failure);

/* sse_parser_restart() - be ready for a new connection; the id and retry_ms stay. */
void sse_parser_restart(struct sse_parser *parser);

/* sse_parser_done() - free what it holds. */
void sse_parser_done(struct sse_parser *parser);
