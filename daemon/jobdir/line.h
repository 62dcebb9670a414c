// SPDX-License-Identifier: Apache-2.0
/*
 * The events of a run as lines of JSON, {"kind": KIND, "data": {...}}: those of the pipeline's
 * observer (daemon/pipeline/job.h) between two of the run's own:
 *   run.started  {version, host, pid, device: {name, kind}}
 *   run.alive    {}: nothing else was written for LINE_ALIVE_SECONDS
 *   run.ended    {how, result, error, device_failed} (end.h); the last line
 * A line that a reader sees whole is complete; one without its newline is still being written, or
 * its writer was killed.
 */
#pragma once

#include "base/failure.h"

#include <jansson.h>
#include <stddef.h>

#define LINE_RUN_STARTED "run.started"
#define LINE_RUN_ALIVE "run.alive"
#define LINE_RUN_ENDED "run.ended"

#define LINE_SIZE_MAX (16 << 20) /* bytes; a layer of 64 experts takes some 70 KB */
#define LINE_ALIVE_SECONDS 10
#define LINE_PROGRESS_SECONDS 1 /* between two lines of progress; the rest is left out */

struct line_writer {
    int fd;               /* borrowed */
    double written_at;    /* monotonic: the last line */
    double progressed_at; /* the last line of progress */
};

/*
 * line_write() - append a line; @data is borrowed. It is on disk on return where @fd is a file,
 * unless it is one of progress or of life, of which some are left out. Return: 0 or -errno. One
 * thread.
 */
int line_write(struct line_writer *writer, const char *kind, json_t *data);

/* line_write_alive() - write run.alive when it is time to. Return: 0 or -errno. One thread. */
int line_write_alive(struct line_writer *writer);

/*
 * line_parse() - the @size bytes of a line, without its newline; hostile. The caller owns
 * *ret_line: an object whose "kind" is a string and whose "data" is an object. Any thread.
 * Return: 0; -EBADMSG (events_invalid) or -ENOMEM with the failure.
 */
int line_parse(const char *text, size_t size, json_t **ret_line, struct failure *failure);
