// SPDX-License-Identifier: Apache-2.0
#include "daemon/data/hub/parts.h"

#include "base/checked.h"
#include "base/file.h"
#include "base/macros.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define MAGIC 0x3174726170647471ull /* "qtdpart1" */

/* The map: this, then done[n]; of this machine's byte order. */
struct map_header {
    uint64_t magic, size, part_size;
};

void hub_parts_free(struct hub_parts *parts) {
    if (!parts)
        return;
    if (parts->fd >= 0)
        close(parts->fd);
    if (parts->map_fd >= 0)
        close(parts->map_fd);
    free(parts->path);
    free(parts->map_path);
    free(parts->done);
    free(parts);
}

uint64_t hub_parts_length(const struct hub_parts *parts, uint64_t i) {
    return MIN(parts->part_size, parts->size - i * parts->part_size);
}

uint64_t hub_parts_have(const struct hub_parts *parts) {
    uint64_t have = 0;

    for (uint64_t i = 0; i < parts->n; i++)
        have += __atomic_load_n(&parts->done[i], __ATOMIC_RELAXED);
    return have;
}

static int pwrite_all(int fd, const void *data, size_t size, uint64_t offset) {
    const char *at = data;

    while (size > 0) {
        ssize_t n = pwrite(fd, at, size, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        at += n;
        offset += (uint64_t)n;
        size -= (size_t)n;
    }
    return 0;
}

static int note_done(struct hub_parts *parts, uint64_t i, uint64_t done) {
    __atomic_store_n(&parts->done[i], done, __ATOMIC_RELAXED);
    return pwrite_all(parts->map_fd, &done, sizeof(done),
                      sizeof(struct map_header) + i * sizeof(done));
}

int hub_parts_write(struct hub_parts *parts, uint64_t i, const void *data, size_t size) {
    uint64_t done = parts->done[i];
    int r = pwrite_all(parts->fd, data, size, i * parts->part_size + done);

    return r ? r : note_done(parts, i, done + size);
}

int hub_parts_forget(struct hub_parts *parts, uint64_t i) {
    return note_done(parts, i, 0);
}

static int count_parts(struct hub_parts *parts, uint64_t part_size) {
    size_t size;

    parts->part_size = part_size;
    parts->n = parts->size / part_size + (parts->size % part_size != 0);
    free(parts->done);
    parts->done = NULL;
    if (checked_mul(parts->n, sizeof(*parts->done), &size))
        return -EFBIG;
    parts->done = calloc(parts->n + 1, sizeof(*parts->done));
    return parts->done ? 0 : -ENOMEM;
}

int hub_parts_restart(struct hub_parts *parts, bool whole) {
    struct map_header header = {MAGIC, parts->size, whole ? MAX(parts->size, 1) : parts->part_size};
    int r = count_parts(parts, header.part_size);

    if (r)
        return r;
    if (ftruncate(parts->map_fd, 0) || ftruncate(parts->fd, 0))
        return -errno;
    r = pwrite_all(parts->map_fd, &header, sizeof(header), 0);
    if (!r)
        r = pwrite_all(parts->map_fd, parts->done, parts->n * sizeof(*parts->done), sizeof(header));
    if (r)
        return r;
    /* The room is taken now rather than missed in an hour; not every file system can. */
    if (parts->size && fallocate(parts->fd, 0, 0, (off_t)parts->size) && errno == ENOSPC)
        return -ENOSPC;
    return ftruncate(parts->fd, (off_t)parts->size) ? -errno : 0;
}

/* Reads the map of an earlier try. Return: 0, or -EBADMSG: there is none that fits. */
static int read_map(struct hub_parts *parts) {
    struct map_header header;
    struct stat st;
    size_t size;
    int r;

    if (fstat(parts->fd, &st) || (uint64_t)st.st_size != parts->size ||
        pread(parts->map_fd, &header, sizeof(header), 0) != sizeof(header) ||
        header.magic != MAGIC || header.size != parts->size || !header.part_size ||
        header.part_size > MAX(parts->size, 1) + parts->part_size ||
        parts->size / header.part_size > 1 << 20)
        return -EBADMSG;
    r = count_parts(parts, header.part_size);
    if (r)
        return r;
    size = parts->n * sizeof(*parts->done);
    if (pread(parts->map_fd, parts->done, size, sizeof(header)) != (ssize_t)size)
        return -EBADMSG;
    for (uint64_t i = 0; i < parts->n; i++)
        if (parts->done[i] > hub_parts_length(parts, i))
            return -EBADMSG;
    return 0;
}

static int open_parts(struct hub_parts *parts, const char *path) {
    const int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
    uint64_t part_size = parts->part_size;
    int r;

    parts->path = str_format("%s.part", path);
    parts->map_path = str_format("%s.map", path);
    if (!parts->path || !parts->map_path)
        return -ENOMEM;
    parts->fd = open(parts->path, flags, 0640);
    parts->map_fd = open(parts->map_path, flags, 0640);
    if (parts->fd < 0 || parts->map_fd < 0)
        return -errno;
    r = read_map(parts);
    if (r != -EBADMSG)
        return r;
    parts->part_size = part_size;
    return hub_parts_restart(parts, false);
}

int hub_parts_open(const char *path, uint64_t size, uint64_t part_size,
                   struct hub_parts **ret_parts, struct failure *failure) {
    cleanup(hub_parts_freep) struct hub_parts *parts = calloc(1, sizeof(*parts));
    int r;

    if (!parts)
        return failure_oom(failure);
    parts->fd = parts->map_fd = -1;
    parts->size = size;
    parts->part_size = part_size;
    r = open_parts(parts, path);
    if (r)
        return failure_errno(failure, r, "cannot prepare", path);
    *ret_parts = steal_ptr(parts);
    return 0;
}

int hub_parts_publish(struct hub_parts *parts, const char *path) {
    int r;

    if (fsync(parts->fd) || rename(parts->path, path))
        return -errno;
    r = file_sync_parent(path);
    unlink(parts->map_path);
    return r;
}

void hub_parts_remove(const char *path) {
    cleanup(freep) char *part = str_format("%s.part", path);
    cleanup(freep) char *map = str_format("%s.map", path);

    if (part)
        unlink(part);
    if (map)
        unlink(map);
}

uint64_t hub_parts_reserved(const char *path) {
    cleanup(freep) char *part = str_format("%s.part", path);
    struct stat st;

    return part && !lstat(part, &st) && S_ISREG(st.st_mode) ? (uint64_t)st.st_blocks * 512 : 0;
}
