// SPDX-License-Identifier: Apache-2.0
#include "daemon/data/gz_lines.h"

#include "base/str.h"
#include "daemon/data/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define BLOCK_SIZE ((size_t)256 << 10)

/* English text shrinks to a third; deflate itself ends at 1032. */
#define RATIO_MAX 100
#define RATIO_SLACK ((size_t)1 << 20)

#define HINT "delete the damaged file, so that it is fetched or copied again"

struct gz_lines {
    const char *subject;
    int fd;
    z_stream stream;
    bool stream_open; /* inflateEnd() is owed */
    bool between;     /* the last gzip member has ended: the file may end here */
    size_t total_in;  /* bytes read from the file */
    size_t total_out; /* bytes unpacked */
    size_t at, end;   /* what is left of out */
    struct strbuf line;
    unsigned char in[BLOCK_SIZE], out[BLOCK_SIZE];
};

static int invalid(const struct gz_lines *lines, const char *why, struct failure *failure) {
    return failure_set(failure, -EBADMSG, "dataset_invalid", HINT, "cannot unpack '%s': %s",
                       lines->subject, why);
}

int gz_lines_open(const char *path, const char *subject, struct gz_lines **ret_lines,
                  struct failure *failure) {
    cleanup(gz_lines_freep) struct gz_lines *lines = calloc(1, sizeof(*lines));
    int r;

    if (!lines)
        return failure_oom(failure);
    lines->fd = -1;
    lines->subject = subject;
    r = text_open(path, subject, &lines->fd, failure);
    if (r)
        return r;
    if (inflateInit2(&lines->stream, MAX_WBITS + 16) != Z_OK) /* + 16: gzip and nothing else */
        return failure_oom(failure);
    lines->stream_open = true;
    *ret_lines = steal_ptr(lines);
    return 0;
}

void gz_lines_free(struct gz_lines *lines) {
    if (!lines)
        return;
    if (lines->stream_open)
        inflateEnd(&lines->stream);
    closep(&lines->fd);
    strbuf_done(&lines->line);
    free(lines);
}

/* Return: 1, 0 at the end of the file, or a negative errno. */
static int read_block(struct gz_lines *lines, struct failure *failure) {
    ssize_t n;

    do
        n = read(lines->fd, lines->in, sizeof(lines->in));
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return failure_errno(failure, -errno, "cannot read", lines->subject);
    lines->stream.next_in = lines->in;
    lines->stream.avail_in = (uInt)n;
    lines->total_in += (size_t)n;
    return n > 0;
}

static int check_limits(const struct gz_lines *lines, struct failure *failure) {
    size_t used = lines->total_in - lines->stream.avail_in;

    if (lines->total_out > GZ_TOTAL_MAX)
        return invalid(lines, "it unpacks to more than 2 GiB", failure);
    if (lines->total_out > RATIO_SLACK && lines->total_out / RATIO_MAX > used)
        return invalid(lines, "it shrank more than text does", failure);
    return 0;
}

/* One call of inflate(). Return: 0 or a negative errno. */
static int inflate_some(struct gz_lines *lines, struct failure *failure) {
    z_stream *stream = &lines->stream;
    int status;

    if (lines->between) {
        inflateReset(stream);
        lines->between = false;
    }
    stream->next_out = lines->out;
    stream->avail_out = sizeof(lines->out);
    status = inflate(stream, Z_NO_FLUSH);
    lines->at = 0;
    lines->end = sizeof(lines->out) - stream->avail_out;
    lines->total_out += lines->end;
    if (status == Z_MEM_ERROR)
        return failure_oom(failure);
    if (status == Z_STREAM_END)
        lines->between = true;
    else if (status != Z_OK && !(status == Z_BUF_ERROR && stream->avail_in == 0))
        return invalid(lines, stream->msg ? stream->msg : "not gzip data", failure);
    return check_limits(lines, failure);
}

/* Unpacks until out holds something. Return: 1, 0 at the end, or a negative errno. */
static int fill(struct gz_lines *lines, struct failure *failure) {
    int r;

    while (lines->at == lines->end) {
        /* With out filled to its end, inflate() may still hold bytes back: ask before reading. */
        bool pending = !lines->between && lines->stream.avail_out == 0 && lines->total_out > 0;

        if (lines->stream.avail_in == 0 && !pending) {
            r = read_block(lines, failure);
            if (r < 0)
                return r;
            if (r == 0)
                return lines->between ? 0 : invalid(lines, "it is cut off", failure);
        }
        r = inflate_some(lines, failure);
        if (r)
            return r;
    }
    return 1;
}

int gz_lines_next(struct gz_lines *lines, const char **ret_line, size_t *ret_size,
                  struct failure *failure) {
    const unsigned char *newline = NULL;
    int r;

    lines->line.length = 0;
    while (!newline) {
        const unsigned char *start;
        size_t n;

        r = fill(lines, failure);
        if (r < 0)
            return r;
        if (r == 0 && lines->line.length == 0)
            return 0;
        if (r == 0)
            break;
        start = lines->out + lines->at;
        newline = memchr(start, '\n', lines->end - lines->at);
        n = newline ? (size_t)(newline - start) : lines->end - lines->at;
        if (n > GZ_LINE_MAX - lines->line.length)
            return invalid(lines, "a line of more than 16 MiB", failure);
        strbuf_append(&lines->line, (const char *)start, n);
        if (lines->line.failed)
            return failure_oom(failure);
        lines->at += n + (newline != NULL);
    }
    *ret_line = lines->line.data;
    *ret_size = lines->line.length;
    return 1;
}
