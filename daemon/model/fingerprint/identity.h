// SPDX-License-Identifier: Apache-2.0
/*
 * The identity of a file, which shows whether it is still the same: values that the kernel changes
 * when a program writes into the file or replaces it. Any thread.
 */
#pragma once

#include "base/failure.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All zero: there is no such file. */
struct identity {
    uint64_t device, inode, size; /* size in bytes */
    int64_t mtime_ns, ctime_ns;   /* since 1970 */
};

/* identity_of_fd() - of the open file @fd. Return: 0 or -errno. */
int identity_of_fd(int fd, struct identity *ret_identity);
/* identity_of_path() - of the file that file_open_in() opens. Return: 0 or -errno. */
int identity_of_path(const char *root, const char *path, struct identity *ret_identity);
bool identity_equal(const struct identity *a, const struct identity *b);

/*
 * identity_is_settled() - could the file be changed again without a change of its times? The
 * kernel's clock of files ticks some hundred times a second: times this close to now say little.
 */
bool identity_is_settled(const struct identity *identity);

/* What to do about model_changed. */
#define IDENTITY_CHANGED_HINT                                                                      \
    "leave the model's files alone while jobs use them, then submit the job again"

/* Files that must stay as they are. Zero-initialise. One thread at a time. */
struct watch {
    const char *root; /* as for file_open_in(), or NULL; borrowed */
    struct watched {
        char *path; /* owned */
        struct identity identity;
    } * files;
    size_t n_files, capacity;
};

/* watch_add() - @identity NULL: what @path is now, also when there is none. Return: 0 or -errno. */
int watch_add(struct watch *watch, const char *path, const struct identity *identity);
/*
 * watch_check() - is every file what it was? Costs one look-up each.
 * Return: 0, or -ESTALE (model_changed) with the file named.
 */
int watch_check(const struct watch *watch, struct failure *failure);
void watch_done(struct watch *watch);
