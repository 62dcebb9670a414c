// SPDX-License-Identifier: Apache-2.0
/*
 * A shard that is written beside the thread of the run, whose functions these are: to a file of its
 * own, or to the one file of a format. Zero-initialise.
 */
#pragma once

#include "base/hash.h"
#include "base/task.h"
#include "daemon/pipeline/formats/format.h"

struct shard_file {
    struct layer_codes codes;      /* what the shard borrows from; owned */
    struct shard shard;            /* owned */
    char *path;                    /* owned; NULL: it goes to the container */
    struct format_context context; /* of the container, which is borrowed */
    const struct container_ops *container_ops;
    struct container *container;
    struct task task;
    char sha256[SHA256_TEXT_SIZE]; /* of the file, once it is finished */
    uint64_t size;                 /* likewise: bytes */
    struct failure failure;
};

/* shard_file_bytes() - of the tensors. */
size_t shard_file_bytes(const struct shard_file *file);

/*
 * shard_file_start() - begin to write file->shard as @path (taken). The file stays where it is
 * until it is finished. Return: 0 or -errno with the failure.
 */
int shard_file_start(struct shard_file *file, char *path, struct failure *failure);

/*
 * shard_file_append() - begin to add file->shard to @container of @format, which nothing else uses
 * until that is finished. Return: 0 or -errno with the failure.
 */
int shard_file_append(struct shard_file *file, const struct format_context *context,
                      const struct format_ops *format, struct container *container,
                      struct failure *failure);

/* shard_file_finish() - wait until it is on the disk. Return: 0 or -errno with the failure. */
int shard_file_finish(struct shard_file *file, struct failure *failure);

/* shard_file_json() - {sha256, bytes} of a finished file; the caller's; NULL: no memory. */
json_t *shard_file_json(const struct shard_file *file);

/* shard_file_done() - wait, and free. */
void shard_file_done(struct shard_file *file);
