// SPDX-License-Identifier: Apache-2.0
/*
 * The bytes of a file, block by block or line by line, unpacked by zlib when they are gzip. One
 * reader is used by one thread.
 */
#pragma once

#include "base/cleanup.h"
#include "base/failure.h"

#include <stddef.h>

/* A longer line is refused, and so is a file that has, or unpacks to, more. */
#define READER_LINE_MAX ((size_t)16 << 20)
#define READER_TOTAL_MAX ((size_t)2 << 30)

enum reader_packing {
    READER_PLAIN, /* as they are */
    READER_GZIP,  /* gzip and nothing else, also of several members */
};

struct reader;

/*
 * reader_new() - read what is left of @fd, which is untrusted; the reader owns it, also when this
 * fails. @subject is what failures call the file; borrowed. The caller owns *ret_reader.
 * Return: 0 or -ENOMEM.
 */
int reader_new(int fd, const char *subject, enum reader_packing packing, struct reader **ret_reader,
               struct failure *failure);

/*
 * reader_block() - the next bytes, borrowed until the next call.
 * Return: 1; 0 at the end; -EBADMSG (dataset_invalid): not gzip, cut off, a wrong checksum, over
 * a limit, or shrunk more than text does; -ENOMEM; or -errno.
 */
int reader_block(struct reader *reader, const char **ret_data, size_t *ret_size,
                 struct failure *failure);

/* reader_line() - the next line without its newline; otherwise as reader_block(). */
int reader_line(struct reader *reader, const char **ret_line, size_t *ret_size,
                struct failure *failure);

void reader_free(struct reader *reader); /* NULL is fine */

DEFINE_CLEANUP(struct reader *, reader_freep, reader_free)
