// SPDX-License-Identifier: Apache-2.0
#include "daemon/jobdir/line.h"

#include "api/wire.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/macros.h"
#include "base/str.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static bool is_progress(const char *kind) {
    return str_equal(kind, WIRE_EVENT_PROGRESS) || str_equal(kind, WIRE_EVENT_EVAL_PROGRESS);
}

/* A pipe cannot be synced, nor does it have to be. */
static int sync_lines(int fd) {
    return fdatasync(fd) == 0 || errno == EINVAL || errno == EROFS ? 0 : -errno;
}

static int write_line(struct line_writer *writer, const char *kind, json_t *data) {
    cleanup(json_decrefp) json_t *line = json_pack("{ss sO}", "kind", kind, "data", data);
    cleanup(freep) char *text =
        line ? json_text(line, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    size_t size;

    if (!text)
        return -ENOMEM;
    size = strlen(text);
    text[size] = '\n'; /* in the place of the NUL: one write, one line */
    writer->written_at = clock_monotonic();
    return file_write_all(writer->fd, text, size + 1);
}

int line_write(struct line_writer *writer, const char *kind, json_t *data) {
    double now = clock_monotonic();
    int r;

    if (is_progress(kind)) {
        if (now - writer->progressed_at < LINE_PROGRESS_SECONDS)
            return 0;
        writer->progressed_at = now;
        return write_line(writer, kind, data);
    }
    r = write_line(writer, kind, data);
    return r ? r : sync_lines(writer->fd);
}

int line_write_alive(struct line_writer *writer) {
    cleanup(json_decrefp) json_t *data = NULL;

    if (clock_monotonic() - writer->written_at < LINE_ALIVE_SECONDS)
        return 0;
    data = json_object();
    return data ? write_line(writer, LINE_RUN_ALIVE, data) : -ENOMEM;
}

int line_parse(const char *text, size_t size, json_t **ret_line, struct failure *failure) {
    cleanup(json_decrefp) json_t *line = NULL;
    int r;

    if (size > LINE_SIZE_MAX)
        return failure_set(failure, -EBADMSG, "events_invalid", NULL,
                           "a line of %zu bytes is longer than any event", size);
    r = json_parse(text, size, "a line of events", "events_invalid", &line, failure);
    if (r)
        return r;
    if (!json_is_string(json_object_get(line, "kind")) ||
        !json_is_object(json_object_get(line, "data")))
        return failure_set(failure, -EBADMSG, "events_invalid", NULL,
                           "a line of events holds no kind and data");
    *ret_line = steal_ptr(line);
    return 0;
}
