// SPDX-License-Identifier: Apache-2.0
#include "base/output/output.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/macros.h"
#include "base/task.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WRITE_BACK ((size_t)16 << 20) /* bytes that the disk gets at a time */
#define HASH_BESIDE ((size_t)1 << 20) /* bytes from which on a thread of its own hashes */

int output_open(struct output *output, const char *path, int flags, bool hashed,
                struct failure *failure) {
    *output = (struct output){.path = strdup(path), .fd = -1};
    if (hashed)
        output->hash = sha256_new();
    if (!output->path || (hashed && !output->hash)) {
        output_close(output);
        return failure_oom(failure);
    }
    output->fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0640);
    if (output->fd < 0) {
        int r = -errno;

        output_close(output);
        return failure_errno(failure, r, "cannot create", path);
    }
    return 0;
}

static int write_part(struct output *output, const struct iovec *part) {
    for (size_t at = 0; at < part->iov_len;) {
        size_t n = MIN(part->iov_len - at, WRITE_BACK);
        int r = file_write_all(output->fd, (const char *)part->iov_base + at, n);

        if (r)
            return r;
        at += n;
        output->size += n;
        output->behind += n;
        if (output->behind < WRITE_BACK)
            continue;
        /* So that little is left for the fsync, which also reports what goes wrong here. */
        (void)sync_file_range(output->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
        output->behind = 0;
    }
    return 0;
}

struct hashing {
    struct sha256 *hash;
    const struct iovec *parts;
    size_t n;
};

static int hash_parts(void *ctx) {
    const struct hashing *hashing = ctx;

    for (size_t i = 0; i < hashing->n; i++)
        sha256_update(hashing->hash, hashing->parts[i].iov_base, hashing->parts[i].iov_len);
    return 0;
}

int output_append(struct output *output, const struct iovec *parts, size_t n) {
    struct hashing hashing = {output->hash, parts, n};
    struct task task = {};
    size_t size = 0;
    bool beside;
    int r = 0;

    for (size_t i = 0; i < n; i++)
        size += parts[i].iov_len;
    beside = output->hash && size >= HASH_BESIDE && !task_start(&task, hash_parts, &hashing);
    for (size_t i = 0; i < n && !r; i++)
        r = write_part(output, &parts[i]);
    task_finish(&task);
    if (!r && output->hash && !beside)
        hash_parts(&hashing);
    return r;
}

int output_put(struct output *output, const void *data, size_t size) {
    return output_append(output, &(struct iovec){(void *)data, size}, 1);
}

int output_finish(struct output *output, char *ret_sha256) {
    if (fsync(output->fd))
        return -errno;
    if (ret_sha256)
        sha256_finish(output->hash, ret_sha256);
    return 0;
}

int output_failed(const struct output *output, int r, struct failure *failure) {
    return r == -ENOMEM ? failure_oom(failure)
                        : failure_errno(failure, r, "cannot write", output->path);
}

void output_close(struct output *output) {
    if (output->path && output->fd >= 0)
        close(output->fd);
    sha256_free(output->hash);
    free(output->path);
    *output = (struct output){};
}
