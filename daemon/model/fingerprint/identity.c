// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/fingerprint/identity.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/macros.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SETTLED_MS 2000 /* some file systems keep times in steps of 1 or 2 s */

static int64_t nanoseconds(struct timespec at) {
    return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
}

static struct identity identity_of(const struct stat *st) {
    return (struct identity){
        .device = st->st_dev,
        .inode = st->st_ino,
        .size = (uint64_t)st->st_size,
        .mtime_ns = nanoseconds(st->st_mtim),
        .ctime_ns = nanoseconds(st->st_ctim),
    };
}

int identity_of_fd(int fd, struct identity *ret_identity) {
    struct stat st;

    if (fstat(fd, &st))
        return -errno;
    *ret_identity = identity_of(&st);
    return 0;
}

int identity_of_path(const char *root, const char *path, struct identity *ret_identity) {
    cleanup(closep) int fd = file_open_in(root, path, O_PATH);

    return fd < 0 ? fd : identity_of_fd(fd, ret_identity);
}

bool identity_equal(const struct identity *a, const struct identity *b) {
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns;
}

bool identity_is_settled(const struct identity *identity) {
    int64_t newest = MAX(identity->mtime_ns, identity->ctime_ns);

    return clock_wall_ms() - newest / 1000000 > SETTLED_MS;
}

/* Zero when there is no file at @path. */
static int current_identity(const char *root, const char *path, struct identity *ret_identity) {
    int r = identity_of_path(root, path, ret_identity);

    if (r == -ENOENT || r == -ENOTDIR) {
        *ret_identity = (struct identity){};
        return 0;
    }
    return r;
}

int watch_add(struct watch *watch, const char *path, const struct identity *identity) {
    struct watched file = {};
    int r = 0;

    if (watch->n_files == watch->capacity) {
        size_t capacity = watch->capacity ? 2 * watch->capacity : 16;
        struct watched *files = realloc(watch->files, capacity * sizeof(*files));

        if (!files)
            return -ENOMEM;
        watch->files = files;
        watch->capacity = capacity;
    }
    if (identity)
        file.identity = *identity;
    else
        r = current_identity(watch->root, path, &file.identity);
    if (r)
        return r;
    file.path = strdup(path);
    if (!file.path)
        return -ENOMEM;
    watch->files[watch->n_files++] = file;
    return 0;
}

int watch_check(const struct watch *watch, struct failure *failure) {
    for (size_t i = 0; i < watch->n_files; i++) {
        const struct watched *file = &watch->files[i];
        struct identity now;

        if (!current_identity(watch->root, file->path, &now) &&
            identity_equal(&now, &file->identity))
            continue;
        return failure_set(failure, -ESTALE, "model_changed", IDENTITY_CHANGED_HINT,
                           "'%s' was changed or replaced while the job ran", file->path);
    }
    return 0;
}

void watch_done(struct watch *watch) {
    for (size_t i = 0; i < watch->n_files; i++)
        free(watch->files[i].path);
    free(watch->files);
    *watch = (struct watch){};
}
