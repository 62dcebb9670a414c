// SPDX-License-Identifier: Apache-2.0
#include "api/stream/stream.h"

#include "api/request/answer.h"
#include "api/request/api.h"
#include "api/request/response.h"
#include "api/stream/fanout.h"
#include "api/wire.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log/log.h"
#include "base/str.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define BLOCK_SIZE (16 * 1024)
#define CHUNK_ROWS 8            /* events read at a time from the store, ... */
#define CHUNK_BYTES (32 * 1024) /* ... unless they are so long; what a stream holds, and one */
#define FRAMES (CHUNK_ROWS + 4) /* the start, a progress and a heartbeat beside them */
#define SEND_BUFFER (64 * 1024) /* bytes that the kernel keeps for a client that does not read */

struct stream {
    struct subscriber subscriber;
    struct api *api;
    struct caller caller;         /* who reads it */
    uint64_t cursor;              /* newest event that was looked at */
    int n_left;                   /* stored events that it may still send */
    struct frame *frames[FRAMES]; /* to send; used */
    int n_frames, at;             /* at: the one that is being sent */
    size_t n_sent;                /* of it */
    struct frame *progress;       /* as last sent; used; may be NULL */
    bool more;                    /* there may be more events already */
    bool ask_store;               /* the job may have ended: the store knows */
    bool progress_due;            /* once there are no more events */
    bool ended;                   /* the frames are the last that will be sent */
};

static void drop_frames(struct stream *stream) {
    for (int i = 0; i < stream->n_frames; i++)
        frame_free(stream->frames[i]);
    stream->n_frames = stream->at = 0;
    stream->n_sent = 0;
}

static void stream_free(void *arg) {
    struct stream *stream = arg;

    fanout_remove(stream->api->fanout, &stream->subscriber);
    drop_frames(stream);
    frame_free(stream->progress);
    free(stream);
}

/* Takes @frame over. Return: 0, or -ENOMEM with the failure. */
static int push(struct stream *stream, struct frame *frame, struct failure *failure) {
    if (!frame)
        return failure_oom(failure);
    stream->frames[stream->n_frames++] = frame;
    return 0;
}

/* The next events, from the store. */
static int put_stored(struct stream *stream, struct failure *failure) {
    struct service *service = stream->api->service;
    /* Before the rows: those up to here that do not come now are hidden from the reader. */
    uint64_t newest = service->last_seq(service->ctx);
    cleanup(json_decrefp) json_t *events = NULL;
    bool ended = false;
    size_t bytes = 0, i;
    json_t *event;
    int r;

    r = service->events(service->ctx, &stream->caller, stream->subscriber.job, stream->cursor,
                        CHUNK_ROWS, &events, &ended, failure);
    if (r)
        return r;
    json_array_foreach(events, i, event) {
        if (bytes >= CHUNK_BYTES)
            break;
        r = push(stream, frame_event(event), failure);
        if (r)
            return r;
        bytes += stream->frames[stream->n_frames - 1]->size;
        stream->cursor = stream->frames[stream->n_frames - 1]->seq;
    }
    stream->n_left -= (int)i;
    stream->more = i < json_array_size(events) || i == CHUNK_ROWS;
    if (!stream->more) {
        stream->cursor = MAX(stream->cursor, newest);
        stream->ask_store = false;
        stream->ended = ended && stream->subscriber.job;
    }
    return 0;
}

/* The next events: from the fan-out when it has them, else from the store. */
static int put_events(struct stream *stream, struct failure *failure) {
    int n = -ESTALE;

    if (!stream->ask_store)
        n = fanout_events(stream->api->fanout, &stream->subscriber, &stream->cursor,
                          stream->frames + stream->n_frames, CHUNK_ROWS, CHUNK_BYTES,
                          &stream->more);
    if (n < 0)
        return put_stored(stream, failure);
    stream->n_frames += n;
    stream->n_left -= n;
    if (n > 0 && stream->subscriber.job)
        stream->ask_store = stream->frames[stream->n_frames - 1]->is_state;
    stream->more |= stream->ask_store;
    return 0;
}

static void put_progress(struct stream *stream) {
    struct frame *frame = fanout_progress(stream->api->fanout, &stream->subscriber);

    if (!frame || frame_same_data(frame, stream->progress)) {
        frame_free(frame);
        return;
    }
    frame_free(stream->progress);
    stream->progress = frame_use(frame);
    stream->frames[stream->n_frames++] = frame;
}

/* Does what @signals ask for; nothing may come of it. The stream holds no frame. */
static int stream_fill(struct stream *stream, unsigned signals, struct failure *failure) {
    int r = 0;

    if (signals & FANOUT_PROGRESS)
        stream->progress_due = true;
    if (signals & FANOUT_ROWS || stream->more)
        r = put_events(stream, failure);
    if (r == 0 && stream->progress_due && !stream->more && !stream->ended) {
        stream->progress_due = false;
        put_progress(stream);
    }
    if (r == 0 && signals & FANOUT_BEAT && stream->n_frames == 0)
        r = push(stream, frame_text(":\n", 2), failure);
    /* The client reconnects with its last id, and others get their turn. */
    stream->ended |= stream->n_left <= 0;
    if (r == 0 && stream->n_frames > 0)
        fanout_sent(stream->api->fanout, &stream->subscriber);
    return r;
}

/* libmicrohttpd asks for the next bytes; 0 only after the connection was suspended. */
static ssize_t stream_read(void *arg, uint64_t position, char *buffer, size_t max) {
    struct stream *stream = arg;
    struct service *service = stream->api->service;
    const struct frame *frame;
    size_t n;

    (void)position;
    while (stream->at == stream->n_frames) {
        struct failure failure = {};
        unsigned signals;

        if (stream->ended)
            return MHD_CONTENT_READER_END_OF_STREAM;
        drop_frames(stream);
        signals = fanout_take(stream->api->fanout, &stream->subscriber, stream->more);
        if (signals & FANOUT_STOP)
            return MHD_CONTENT_READER_END_OF_STREAM;
        if (!signals && !stream->more)
            return 0;
        if (!service->is_current(service->ctx, &stream->caller)) {
            log_notice("event stream of '%s' ended: its access was revoked", stream->caller.owner);
            return MHD_CONTENT_READER_END_OF_STREAM;
        }
        if (stream_fill(stream, signals, &failure)) {
            /* The client reconnects with its last id and gets the failure then. */
            log_warning("event stream ended: %s", failure.detail);
            return MHD_CONTENT_READER_END_OF_STREAM;
        }
    }
    frame = stream->frames[stream->at];
    n = MIN(max, frame->size - stream->n_sent);
    memcpy(buffer, frame->text + stream->n_sent, n);
    stream->n_sent += n;
    if (stream->n_sent == frame->size) {
        stream->at++;
        stream->n_sent = 0;
    }
    return (ssize_t)n;
}

/* The cursor of another store would wait for events that are long past, or never come. */
static void put_reset(struct strbuf *out, uint64_t after, uint64_t newest) {
    cleanup(json_decrefp) json_t *data =
        json_pack("{s:I, s:I}", "after", (json_int_t)after, "last_seq", (json_int_t)newest);

    if (data)
        frame_put(out, 0, WIRE_EVENT_RESET, data);
    else
        out->failed = true;
}

/*
 * Where the stream of all jobs begins. @now: nothing older was asked for, and with the id a client
 * that reconnects before the first event misses none.
 */
static void put_where(struct strbuf *out, uint64_t cursor, bool now) {
    cleanup(json_decrefp) json_t *data = json_pack("{s:I}", "last_seq", (json_int_t)cursor);

    if (data)
        frame_put(out, now ? cursor : 0, WIRE_EVENT_START, data);
    else
        out->failed = true;
}

/* What a client gets first: how to reconnect, and the job as it is. @at_end: nothing follows. */
static int put_start(struct stream *stream, uint64_t after, const json_t *job, bool at_end,
                     struct failure *failure) {
    struct service *service = stream->api->service;
    uint64_t newest = service->last_seq(service->ctx);
    struct strbuf out = {};
    struct frame *frame;

    /* No blank line: see api/wire.h. */
    strbuf_printf(&out, "retry: %d\n", WIRE_RETRY_MS);
    stream->cursor = after == STREAM_FROM_NOW ? newest : after;
    if (stream->cursor > newest) {
        stream->cursor = job ? 0 : newest;
        put_reset(&out, after, newest);
    }
    if (job) {
        stream->progress = frame_progress(job);
        /* The job as it is may be its end already. */
        stream->ask_store = true;
        frame_put(&out, at_end ? after : 0, WIRE_EVENT_JOB, job);
    } else {
        put_where(&out, stream->cursor, after == STREAM_FROM_NOW);
    }
    frame = out.failed ? NULL : frame_text(out.data, out.length);
    strbuf_done(&out);
    return push(stream, frame, failure);
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

/*
 * What the kernel keeps for a client that does not read is bounded too, in bytes and, after the
 * connection was closed, in time. A failure costs nothing but that.
 */
static int bound_socket(const struct request *request) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    int size = SEND_BUFFER;
    unsigned patience_ms = (unsigned)request->api->limits.idle_seconds * 1000;

    if (!info)
        return -1;
    setsockopt(info->connect_fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    if (!request->listener->endpoint.is_unix)
        setsockopt(info->connect_fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &patience_ms,
                   sizeof(patience_ms));
    return info->connect_fd;
}

static enum MHD_Result refuse(struct request *request, int r) {
    const struct api *api = request->api;
    struct failure failure;

    if (r == -EDQUOT)
        failure_set(&failure, r, "too_many_streams",
                    "close one of them; /v1/events is one stream of all jobs",
                    "cannot open an event stream: '%s' has %d open", request->caller.owner,
                    api->limits.owner_streams);
    else
        failure_set(&failure, r, "too_many_streams", "poll the job instead, or try again later",
                    "cannot open an event stream: too many are open");
    return answer_failure(request, r, &failure);
}

/* Has job @job_id ended, and is no event of it newer than @after? */
static int look_for_end(struct request *request, int64_t job_id, uint64_t after, bool *ret_at_end,
                        struct failure *failure) {
    struct service *service = request->api->service;
    cleanup(json_decrefp) json_t *events = NULL;
    bool ended = false;
    int r;

    *ret_at_end = false;
    if (!job_id || after == 0 || after > service->last_seq(service->ctx))
        return 0;
    r = service->events(service->ctx, &request->caller, job_id, after, 1, &events, &ended, failure);
    *ret_at_end = !r && ended && json_array_size(events) == 0;
    return r;
}

enum MHD_Result stream_answer(struct request *request, int64_t job_id, uint64_t after) {
    struct service *service = request->api->service;
    cleanup(json_decrefp) json_t *job = NULL;
    struct MHD_Response *response;
    struct failure failure = {};
    struct stream *stream;
    uint64_t version = 0;
    bool at_end = false;
    int r = 0;

    if (job_id)
        r = service->job(service->ctx, &request->caller, job_id, 0, &job, &version, &failure);
    if (!r)
        r = look_for_end(request, job_id, after, &at_end, &failure);
    if (r)
        return answer_failure(request, r, &failure);
    if (at_end && request_header(request, "Last-Event-ID"))
        return answer_response(request, MHD_HTTP_NO_CONTENT, response_empty());
    stream = calloc(1, sizeof(*stream));
    if (!stream)
        return answer_failure(request, failure_oom(&failure), &failure);
    stream->api = request->api;
    stream->caller = request->caller;
    stream->n_left = request->api->limits.stream_events;
    stream->subscriber = (struct subscriber){.connection = request->connection,
                                             .fd = bound_socket(request),
                                             .owner = stream->caller.owner,
                                             .job = job_id,
                                             .version = version};
    r = fanout_add(request->api->fanout, &stream->subscriber);
    if (r) {
        free(stream);
        return refuse(request, r);
    }
    r = put_start(stream, after, job, at_end, &failure);
    response = r ? NULL : new_response(stream);
    if (!response) {
        stream_free(stream);
        return answer_failure(request, failure_oom(&failure), &failure);
    }
    return answer_response(request, MHD_HTTP_OK, response);
}
