// SPDX-License-Identifier: Apache-2.0
#include "api/stream.h"

#include "api/response.h"
#include "api/server.h"
#include "api/wire.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_SIZE (16 * 1024)
#define CHUNK_ROWS 16      /* events read at a time: what a client that does not read holds */
#define KEEP_CAPACITY 8192 /* an idle stream gives a larger buffer back */

struct stream {
    struct subscriber subscriber;
    struct api *api;
    struct caller caller; /* who reads it */
    uint64_t cursor;      /* newest event that was sent */
    uint64_t version;     /* of the job as last seen */
    struct strbuf out;
    size_t n_sent;     /* of out */
    char *progress;    /* as last sent, JSON */
    bool more;         /* the last chunk of rows was full */
    bool progress_due; /* once there are no more rows */
    bool ended;        /* out holds the last that will be sent */
};

static void stream_free(void *arg) {
    struct stream *stream = arg;

    hub_remove(stream->api->hub, &stream->subscriber);
    strbuf_done(&stream->out);
    free(stream->progress);
    free(stream);
}

/* One event; @id 0: without. The data of one line, as JSON never has a line end in it. */
static void put_event(struct strbuf *out, uint64_t id, const char *type, const json_t *data) {
    cleanup(freep) char *text = json_dumps(data, JSON_COMPACT);

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

/* The next stored events of the stream. */
static int put_rows(struct stream *stream, struct failure *failure) {
    struct service *service = stream->api->service;
    cleanup(json_decrefp) json_t *events = NULL;
    uint64_t newest = service->last_seq(service->ctx);
    bool ended = false;
    json_t *event;
    size_t i;
    int r;

    r = service->events(service->ctx, &stream->caller, stream->subscriber.job, stream->cursor,
                        CHUNK_ROWS, &events, &ended, failure);
    if (r)
        return r;
    json_array_foreach(events, i, event) {
        uint64_t seq = (uint64_t)json_integer_value(json_object_get(event, "seq"));
        const char *type = json_string_value(json_object_get(event, "type"));

        put_event(&stream->out, seq, type ? type : "message", event);
        stream->cursor = seq;
    }
    stream->more = i >= CHUNK_ROWS;
    /* Rows that are hidden from the caller are not looked at again. */
    if (!stream->more)
        stream->cursor = MAX(stream->cursor, newest);
    stream->ended = ended && stream->subscriber.job && !stream->more;
    return 0;
}

/* The progress in @job as text, if it is not what was sent last; NULL if it is. */
static char *new_progress(const struct stream *stream, const json_t *job) {
    json_t *progress = json_object_get(job, "progress");
    char *text = json_is_object(progress) ? json_dumps(progress, JSON_COMPACT) : NULL;

    if (text && str_equal(text, stream->progress)) {
        free(text);
        return NULL;
    }
    return text;
}

static int put_progress(struct stream *stream, struct failure *failure) {
    struct service *service = stream->api->service;
    cleanup(json_decrefp) json_t *job = NULL, *event = NULL;
    char *text, at[CLOCK_TEXT_SIZE];
    int r;

    r = service->job(service->ctx, &stream->caller, stream->subscriber.job, stream->version, &job,
                     &stream->version, failure);
    if (r || !job)
        return r;
    text = new_progress(stream, job);
    if (!text)
        return 0;
    free(stream->progress);
    stream->progress = text;
    clock_format(clock_wall_ms(), at);
    event = json_pack("{s:I, s:s, s:s, s:O}", "job", (json_int_t)stream->subscriber.job, "type",
                      WIRE_EVENT_PROGRESS, "at", at, "data", json_object_get(job, "progress"));
    if (!event)
        return failure_oom(failure);
    put_event(&stream->out, 0, WIRE_EVENT_PROGRESS, event);
    return 0;
}

/* Does what @tasks ask for; nothing may come of it. */
static int stream_fill(struct stream *stream, unsigned tasks, struct failure *failure) {
    int r = 0;

    if (tasks & HUB_PROGRESS)
        stream->progress_due = true;
    if (tasks & HUB_ROWS || stream->more)
        r = put_rows(stream, failure);
    if (r == 0 && stream->progress_due && !stream->more && !stream->ended) {
        stream->progress_due = false;
        r = put_progress(stream, failure);
    }
    if (r == 0 && tasks & HUB_BEAT && stream->out.length == 0)
        strbuf_puts(&stream->out, ":\n\n");
    if (r == 0 && stream->out.failed)
        r = failure_oom(failure);
    if (r == 0)
        hub_note(stream->api->hub, &stream->subscriber, stream->version, stream->out.length > 0);
    return r;
}

static void empty_out(struct stream *stream) {
    stream->n_sent = 0;
    stream->out.length = 0;
    if (stream->out.capacity > KEEP_CAPACITY)
        strbuf_done(&stream->out);
}

/* libmicrohttpd asks for the next bytes; 0 only after the connection was suspended. */
static ssize_t stream_read(void *arg, uint64_t position, char *buffer, size_t max) {
    struct stream *stream = arg;
    struct service *service = stream->api->service;
    size_t n;

    (void)position;
    while (stream->n_sent == stream->out.length) {
        struct failure failure = {};
        unsigned tasks;

        if (stream->ended)
            return MHD_CONTENT_READER_END_OF_STREAM;
        empty_out(stream);
        tasks = hub_take(stream->api->hub, &stream->subscriber, stream->more);
        if (tasks & HUB_STOP)
            return MHD_CONTENT_READER_END_OF_STREAM;
        if (!tasks && !stream->more)
            return 0;
        if (!service->is_current(service->ctx, &stream->caller)) {
            log_notice("event stream of '%s' ended: it may no longer ask", stream->caller.owner);
            return MHD_CONTENT_READER_END_OF_STREAM;
        }
        if (stream_fill(stream, tasks, &failure)) {
            /* The client reconnects with its last id and is told then. */
            log_warning("event stream ended: %s", failure.detail);
            return MHD_CONTENT_READER_END_OF_STREAM;
        }
    }
    n = MIN(max, stream->out.length - stream->n_sent);
    memcpy(buffer, stream->out.data + stream->n_sent, n);
    stream->n_sent += n;
    return (ssize_t)n;
}

/* The cursor of another store would wait for events that are long past, or never come. */
static void put_reset(struct stream *stream, uint64_t after, uint64_t newest) {
    cleanup(json_decrefp) json_t *data =
        json_pack("{s:I, s:I}", "after", (json_int_t)after, "last_seq", (json_int_t)newest);

    if (data)
        put_event(&stream->out, 0, WIRE_EVENT_RESET, data);
    else
        stream->out.failed = true;
}

/* What a client gets first: how to reconnect, and the job as it is. */
static void put_start(struct stream *stream, uint64_t after, const json_t *job) {
    struct service *service = stream->api->service;
    uint64_t newest = service->last_seq(service->ctx);

    strbuf_printf(&stream->out, "retry: %d\n\n", WIRE_RETRY_MS);
    if (after == STREAM_FROM_NOW) {
        /* An id without data: a client that reconnects before the first event misses none. */
        stream->cursor = newest;
        strbuf_printf(&stream->out, "id: %" PRIu64 "\n\n", newest);
    } else if (after > newest) {
        stream->cursor = stream->subscriber.job ? 0 : newest;
        put_reset(stream, after, newest);
    } else {
        stream->cursor = after;
    }
    if (job) {
        stream->progress = new_progress(stream, job);
        put_event(&stream->out, 0, WIRE_EVENT_JOB, job);
    }
}

static struct MHD_Response *new_response(struct stream *stream) {
    struct MHD_Response *response = MHD_create_response_from_callback(
        MHD_SIZE_UNKNOWN, BLOCK_SIZE, stream_read, stream, stream_free);

    if (!response)
        return NULL;
    response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, WIRE_EVENT_STREAM);
    response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-cache");
    response_header(response, "X-Accel-Buffering", "no");
    return response;
}

enum MHD_Result stream_answer(struct request *request, int64_t job_id, uint64_t after) {
    struct service *service = request->api->service;
    cleanup(json_decrefp) json_t *job = NULL;
    struct MHD_Response *response;
    struct failure failure = {};
    struct stream *stream;
    uint64_t version = 0;
    int r;

    if (job_id) {
        r = service->job(service->ctx, &request->caller, job_id, 0, &job, &version, &failure);
        if (r)
            return request_fail(request, r, &failure);
    }
    stream = calloc(1, sizeof(*stream));
    if (!stream)
        return request_fail(request, failure_oom(&failure), &failure);
    stream->api = request->api;
    stream->caller = request->caller;
    stream->version = version;
    stream->subscriber =
        (struct subscriber){.connection = request->connection, .job = job_id, .version = version};
    r = hub_add(request->api->hub, &stream->subscriber);
    if (r) {
        free(stream);
        failure_set(&failure, r, "too_many_streams", "poll the job instead, or try again later",
                    "cannot open an event stream: too many are open");
        return request_fail(request, r, &failure);
    }
    put_start(stream, after, job);
    response = new_response(stream);
    if (!response) {
        stream_free(stream);
        return request_fail(request, failure_oom(&failure), &failure);
    }
    return request_answer(request, MHD_HTTP_OK, response);
}
