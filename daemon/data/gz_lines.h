// SPDX-License-Identifier: Apache-2.0
/* The lines of a gzip file, unpacked block by block by zlib. One reader is used by one thread. */
#pragma once

#include "base/cleanup.h"
#include "base/failure.h"

#include <stddef.h>

/* A longer line is refused, and so is a file that unpacks to more. */
#define GZ_LINE_MAX ((size_t)16 << 20)
#define GZ_TOTAL_MAX ((size_t)2 << 30)

struct gz_lines;

/*
 * gz_lines_open() - begin to read the regular file at @path, which is untrusted; the caller owns
 * *ret_lines. @subject is what failures call the file; borrowed.
 * Return: 0; -EBADMSG (dataset_invalid); -ENOMEM; or -errno.
 */
int gz_lines_open(const char *path, const char *subject, struct gz_lines **ret_lines,
                  struct failure *failure);

/*
 * gz_lines_next() - the next line without its newline, borrowed until the next call.
 * Return: 1; 0 at the end; -EBADMSG (dataset_invalid): not gzip, cut off, a wrong checksum, over
 * a limit, or shrunk more than text does; -ENOMEM; or -errno.
 */
int gz_lines_next(struct gz_lines *lines, const char **ret_line, size_t *ret_size,
                  struct failure *failure);

void gz_lines_free(struct gz_lines *lines); /* NULL is fine */

DEFINE_CLEANUP(struct gz_lines *, gz_lines_freep, gz_lines_free)
