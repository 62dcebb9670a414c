// SPDX-License-Identifier: Apache-2.0
#include "api/stream/sse.h"

#include <errno.h>
#include <string.h>

#define RETRY_MAX_MS 600000

static const char bom[] = "\xef\xbb\xbf";

static bool equals(const char *s, size_t size, const char *name) {
    return size == strlen(name) && memcmp(s, name, size) == 0;
}

/* A name with a NUL would be cut short in a C string: it is ignored, as is one too long. */
static void take_name(char name[SSE_NAME_MAX + 1], const char *value, size_t size) {
    if (size > SSE_NAME_MAX || memchr(value, '\0', size))
        return;
    memcpy(name, value, size);
    name[size] = '\0';
}

static void take_retry(struct sse_parser *parser, const char *value, size_t size) {
    uint64_t ms;
    char text[16];

    if (size >= sizeof(text) || memchr(value, '\0', size))
        return;
    memcpy(text, value, size);
    text[size] = '\0';
    if (str_parse_u64(text, RETRY_MAX_MS, &ms) == 0)
        parser->retry_ms = (int)ms;
}

static int take_data(struct sse_parser *parser, const char *value, size_t size,
                     struct failure *failure) {
    if (size + 1 > SSE_DATA_MAX - parser->data.length)
        return failure_set(failure, -EMSGSIZE, "event_too_long", NULL,
                           "cannot read the event stream: an event is longer than %zu bytes",
                           SSE_DATA_MAX);
    strbuf_append(&parser->data, value, size);
    strbuf_append(&parser->data, "\n", 1);
    parser->has_data = true;
    return parser->data.failed ? failure_oom(failure) : 0;
}

/* A blank line: an event with data is given away, one without only leaves its id behind. */
static int dispatch(struct sse_parser *parser,
                    int (*handle)(void *ctx, const struct sse_event *event), void *ctx) {
    struct sse_event event = {
        .type = parser->type[0] ? parser->type : "message",
        .data = parser->data.data,
        .id = parser->id,
    };
    int r = 0;

    if (parser->has_data) {
        event.size = parser->data.length - 1;
        parser->data.data[event.size] = '\0';
        r = handle(ctx, &event);
    }
    parser->data.length = 0;
    parser->has_data = false;
    parser->type[0] = '\0';
    return r;
}

static int take_line(struct sse_parser *parser, const char *line, size_t size,
                     int (*handle)(void *ctx, const struct sse_event *event), void *ctx,
                     struct failure *failure) {
    const char *colon, *value;
    size_t name_size;

    if (size == 0)
        return dispatch(parser, handle, ctx);
    colon = memchr(line, ':', size);
    name_size = colon ? (size_t)(colon - line) : size;
    value = colon ? colon + 1 : line + size;
    if (value < line + size && *value == ' ')
        value++;
    size -= (size_t)(value - line);
    if (equals(line, name_size, "data"))
        return take_data(parser, value, size, failure);
    if (equals(line, name_size, "event"))
        take_name(parser->type, value, size);
    else if (equals(line, name_size, "id"))
        take_name(parser->id, value, size);
    else if (equals(line, name_size, "retry"))
        take_retry(parser, value, size);
    return 0;
}

/* Bytes of a byte order mark at the start of the stream, which may come in pieces. */
static size_t skip_bom(struct sse_parser *parser, const char *data, size_t size) {
    size_t i = 0;

    while (parser->n_bom >= 0 && i < size) {
        if (data[i] == bom[parser->n_bom]) {
            i++;
            if (++parser->n_bom == 3)
                parser->n_bom = -1;
        } else {
            strbuf_append(&parser->line, bom, (size_t)parser->n_bom);
            parser->n_bom = -1;
        }
    }
    return i;
}

/* The next line of @data, or the rest of it, goes to parser->line. *ret_used: bytes taken. */
static int collect(struct sse_parser *parser, const char *data, size_t size, size_t *ret_used,
                   bool *ret_complete, struct failure *failure) {
    size_t n = 0;

    while (n < size && data[n] != '\r' && data[n] != '\n')
        n++;
    if (n > SSE_LINE_MAX - parser->line.length)
        return failure_set(failure, -EMSGSIZE, "event_too_long", NULL,
                           "cannot read the event stream: a line is longer than %zu bytes",
                           SSE_LINE_MAX);
    strbuf_append(&parser->line, data, n);
    if (parser->line.failed)
        return failure_oom(failure);
    *ret_complete = n < size;
    if (*ret_complete)
        parser->after_cr = data[n++] == '\r';
    *ret_used = n;
    return 0;
}

static int feed(struct sse_parser *parser, const char *data, size_t size,
                int (*handle)(void *ctx, const struct sse_event *event), void *ctx,
                struct failure *failure) {
    size_t used = skip_bom(parser, data, size);

    while (used < size) {
        bool complete = false;
        size_t n = 0;
        int r;

        /* The LF of a CR LF that the line before ended with. */
        if (parser->after_cr && data[used] == '\n') {
            parser->after_cr = false;
            used++;
            continue;
        }
        parser->after_cr = false;
        r = collect(parser, data + used, size - used, &n, &complete, failure);
        if (r)
            return r;
        used += n;
        if (!complete)
            break;
        r = take_line(parser, parser->line.data, parser->line.length, handle, ctx, failure);
        parser->line.length = 0;
        if (r)
            return r;
    }
    return 0;
}

int sse_parser_feed(struct sse_parser *parser, const char *data, size_t size,
                    int (*handle)(void *ctx, const struct sse_event *event), void *ctx,
                    struct failure *failure) {
    int r;

    if (parser->failed)
        return failure_set(failure, -EBADMSG, "event_stream_broken", NULL,
                           "cannot read the event stream: it failed before");
    r = feed(parser, data, size, handle, ctx, failure);
    parser->failed = r != 0;
    return r;
}

void sse_parser_restart(struct sse_parser *parser) {
    strbuf_done(&parser->line);
    strbuf_done(&parser->data);
    parser->type[0] = '\0';
    parser->n_bom = 0;
    parser->after_cr = parser->has_data = parser->failed = false;
}

void sse_parser_done(struct sse_parser *parser) {
    sse_parser_restart(parser);
}
