// SPDX-License-Identifier: Apache-2.0
/* The pointers that a clone without Git LFS leaves where large files belong. */
#pragma once

#include "base/failure.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define LFS_BEGINNING "version https://git-lfs.github.com/spec/"

/* lfs_is_pointer() - are the @size bytes at @text such a pointer? */
static inline bool lfs_is_pointer(const void *text, size_t size) {
    return size >= strlen(LFS_BEGINNING) && memcmp(text, LFS_BEGINNING, strlen(LFS_BEGINNING)) == 0;
}

/* lfs_failure() - says of the file at @path that it is one. Return: -EBADMSG. */
static inline int lfs_failure(struct failure *failure, const char *code, const char *path) {
    return failure_set(failure, -EBADMSG, code,
                       "install git-lfs and run 'git lfs pull' in the folder, or fetch the model "
                       "again without git",
                       "cannot read '%s': it is a Git LFS pointer, not the file itself", path);
}
