// SPDX-License-Identifier: Apache-2.0
/*
 * A file that comes in parts, on disk: NAME.part with the bytes where they belong, and NAME.map
 * with how much of each part is there. Both outlive the process, so the next process resumes;
 * what is wrong in them (a power cut) shows when the whole file's hash is compared.
 */
#pragma once

#include "base/cleanup.h"
#include "base/failure.h"

#include <stdint.h>

struct hub_parts {
    char *path, *map_path; /* owned, as are the descriptors */
    int fd, map_fd;
    uint64_t size, part_size, n;
    uint64_t *done; /* [n] bytes that are there, from the start of each part */
};

/*
 * hub_parts_open() - take up the parts of a file of @size bytes at @path, or begin; the room is
 * reserved. The caller owns *ret_parts, and holds the lock of the file.
 */
int hub_parts_open(const char *path, uint64_t size, uint64_t part_size,
                   struct hub_parts **ret_parts, struct failure *failure);
void hub_parts_free(struct hub_parts *parts); /* the files stay; NULL is fine */
DEFINE_CLEANUP(struct hub_parts *, hub_parts_freep, hub_parts_free)

/* hub_parts_length() - bytes of part @i when it is whole. */
uint64_t hub_parts_length(const struct hub_parts *parts, uint64_t i);

/* hub_parts_have() - bytes that are there. */
uint64_t hub_parts_have(const struct hub_parts *parts);

/* hub_parts_write() - append to part @i; one thread per part. Return: 0 or -errno. */
int hub_parts_write(struct hub_parts *parts, uint64_t i, const void *data, size_t size);

/* hub_parts_forget() - forget the bytes of part @i; by the thread that writes it. */
int hub_parts_forget(struct hub_parts *parts, uint64_t i);

/*
 * hub_parts_restart() - forget all bytes; with @whole there is one part from now on. Call it while
 * no other thread uses the parts.
 */
int hub_parts_restart(struct hub_parts *parts, bool whole);

/* hub_parts_publish() - on disk, and under the name @path; no parts any more. */
int hub_parts_publish(struct hub_parts *parts, const char *path);

/* hub_parts_remove() - delete what is there under @path. */
void hub_parts_remove(const char *path);

/* hub_parts_reserved() - bytes that the disk already holds for the file at @path. */
uint64_t hub_parts_reserved(const char *path);
