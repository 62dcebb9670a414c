// SPDX-License-Identifier: Apache-2.0
#include "daemon/data/text/reader.h"

#include "base/str.h"
#include "daemon/data/text/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define BLOCK_SIZE ((size_t)256 << 10)

/* English text shrinks to a third; deflate itself ends at 1032. */
#define RATIO_MAX 100
#define RATIO_SLACK ((size_t)1 << 20)

struct reader {
    const char *subject;
    int fd;
    z_stream stream;
    enum reader_packing packing;
    bool stream_open;          /* inflateEnd() is owed */
    bool between;              /* the last gzip member has ended: the file may end here */
    size_t total_in;           /* bytes read from the file */
    size_t total_out;          /* bytes unpacked */
    const unsigned char *data; /* in or out */
    size_t at, end;            /* what is left of data */
    struct strbuf line;
    unsigned char in[BLOCK_SIZE], out[BLOCK_SIZE];
};

/* What was packed is damaged. */
static int damaged(const struct reader *reader, const char *why, struct failure *failure) {
    return failure_set(failure, -EBADMSG, "dataset_invalid",
                       "delete the damaged file, so that it is fetched or copied again",
                       "cannot unpack '%s': %s", reader->subject, why);
}

static int too_much(const struct reader *reader, const char *why, struct failure *failure) {
    return failure_set(failure, -EBADMSG, "dataset_invalid",
                       "use a part of it, as lines of a usual length", "cannot read '%s': %s",
                       reader->subject, why);
}

int reader_new(int fd, const char *subject, enum reader_packing packing, struct reader **ret_reader,
               struct failure *failure) {
    cleanup(closep) int own_fd = fd;
    cleanup(reader_freep) struct reader *reader = calloc(1, sizeof(*reader));

    if (!reader)
        return failure_oom(failure);
    reader->fd = steal_fd(&own_fd);
    reader->subject = subject;
    reader->packing = packing;
    if (packing == READER_GZIP && inflateInit2(&reader->stream, MAX_WBITS + 16) != Z_OK)
        return failure_oom(failure); /* + 16: gzip and nothing else */
    reader->stream_open = packing == READER_GZIP;
    *ret_reader = steal_ptr(reader);
    return 0;
}

void reader_free(struct reader *reader) {
    if (!reader)
        return;
    if (reader->stream_open)
        inflateEnd(&reader->stream);
    closep(&reader->fd);
    strbuf_done(&reader->line);
    free(reader);
}

/* Return: 1, 0 at the end of the file, or a negative errno. */
static int read_block(struct reader *reader, struct failure *failure) {
    ssize_t n;

    do
        n = read(reader->fd, reader->in, sizeof(reader->in));
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return failure_errno(failure, -errno, "cannot read", reader->subject);
    reader->stream.next_in = reader->in;
    reader->stream.avail_in = (uInt)n;
    reader->total_in += (size_t)n;
    return n > 0;
}

static int check_limits(const struct reader *reader, struct failure *failure) {
    size_t used = reader->total_in - reader->stream.avail_in;

    if (reader->total_out > READER_TOTAL_MAX)
        return too_much(reader, "it unpacks to more than 2 GiB", failure);
    if (reader->total_out > RATIO_SLACK && reader->total_out / RATIO_MAX > used)
        return damaged(reader, "it shrank more than text does", failure);
    return 0;
}

/* One call of inflate(). Return: 0 or a negative errno. */
static int inflate_some(struct reader *reader, struct failure *failure) {
    z_stream *stream = &reader->stream;
    int status;

    if (reader->between) {
        inflateReset(stream);
        reader->between = false;
    }
    stream->next_out = reader->out;
    stream->avail_out = sizeof(reader->out);
    status = inflate(stream, Z_NO_FLUSH);
    reader->at = 0;
    reader->end = sizeof(reader->out) - stream->avail_out;
    reader->total_out += reader->end;
    if (status == Z_MEM_ERROR)
        return failure_oom(failure);
    if (status == Z_STREAM_END)
        reader->between = true;
    else if (status != Z_OK && !(status == Z_BUF_ERROR && stream->avail_in == 0))
        return damaged(reader, stream->msg ? stream->msg : "not gzip data", failure);
    return check_limits(reader, failure);
}

/* Unpacks until out holds something. Return: 1, 0 at the end, or a negative errno. */
static int unpack(struct reader *reader, struct failure *failure) {
    int r;

    while (reader->at == reader->end) {
        /* With out filled to its end, inflate() may still hold bytes back: ask before reading. */
        bool pending = !reader->between && reader->stream.avail_out == 0 && reader->total_out > 0;

        if (reader->stream.avail_in == 0 && !pending) {
            r = read_block(reader, failure);
            if (r < 0)
                return r;
            if (r == 0)
                return reader->between ? 0 : damaged(reader, "it is cut off", failure);
        }
        r = inflate_some(reader, failure);
        if (r)
            return r;
    }
    return 1;
}

/* Sees to it that there is something between at and end. Return: as unpack(). */
static int fill(struct reader *reader, struct failure *failure) {
    int r;

    if (reader->at < reader->end)
        return 1;
    if (reader->packing == READER_GZIP) {
        reader->data = reader->out;
        return unpack(reader, failure);
    }
    r = read_block(reader, failure);
    if (r <= 0)
        return r;
    reader->data = reader->in;
    reader->at = 0;
    reader->end = reader->stream.avail_in;
    if (reader->total_in > READER_TOTAL_MAX)
        return too_much(reader, "it has more than 2 GiB", failure);
    return 1;
}

int reader_block(struct reader *reader, const char **ret_data, size_t *ret_size,
                 struct failure *failure) {
    int r = fill(reader, failure);

    if (r <= 0)
        return r;
    *ret_data = (const char *)reader->data + reader->at;
    *ret_size = reader->end - reader->at;
    reader->at = reader->end;
    return 1;
}

int reader_line(struct reader *reader, const char **ret_line, size_t *ret_size,
                struct failure *failure) {
    const unsigned char *newline = NULL;
    int r;

    reader->line.length = 0;
    while (!newline) {
        const unsigned char *start;
        size_t n;

        r = fill(reader, failure);
        if (r < 0)
            return r;
        if (r == 0 && reader->line.length == 0)
            return 0;
        if (r == 0)
            break;
        start = reader->data + reader->at;
        newline = memchr(start, '\n', reader->end - reader->at);
        n = newline ? (size_t)(newline - start) : reader->end - reader->at;
        if (n > READER_LINE_MAX - reader->line.length)
            return too_much(reader, "a line of more than 16 MiB", failure);
        strbuf_append(&reader->line, (const char *)start, n);
        if (reader->line.failed)
            return failure_oom(failure);
        reader->at += n + (newline != NULL);
    }
    *ret_line = reader->line.data;
    *ret_size = reader->line.length;
    return 1;
}
