// SPDX-License-Identifier: Apache-2.0
/*
 * A large file that is written from front to back: the disk gets its bytes while more come, and
 * they are hashed beside, while they are warm. One thread at a time.
 */
#pragma once

#include "base/failure.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct output {
    char *path; /* owned */
    int fd;
    struct sha256 *hash; /* of all so far; NULL: it is not hashed; owned */
    uint64_t size;       /* bytes so far */
    size_t behind;       /* of them, which the disk was not given yet */
};

/*
 * output_open() - make the file @path, opened with @flags too: O_EXCL, or O_TRUNC. @hashed: find
 * its SHA-256. Return: 0 or -errno with the failure.
 */
int output_open(struct output *output, const char *path, int flags, bool hashed,
                struct failure *failure);

/*
 * output_append() - write the @n @parts, one after the other; another thread hashes them meanwhile
 * when they are many bytes. Return: 0 or -errno.
 */
int output_append(struct output *output, const struct iovec *parts, size_t n);

/* output_put() - the same with one part. */
int output_put(struct output *output, const void *data, size_t size);

/*
 * output_finish() - nothing follows: have all of it on the disk. @ret_sha256 [SHA256_TEXT_SIZE], of
 * one that is hashed, may be NULL. Return: 0 or -errno.
 */
int output_finish(struct output *output, char *ret_sha256);

/* output_failed() - the failure of a write that returned @r. Return: @r. */
int output_failed(const struct output *output, int r, struct failure *failure);

/* output_close() - of one that output_open() was called with, or that is zeroed. */
void output_close(struct output *output);
