// SPDX-License-Identifier: Apache-2.0
/*
 * Files and folders, written so that a crash at any instant leaves the old content or the new.
 * Every function returns 0 or -errno. Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * file_read() - all of the file at @path, at most @max bytes (-EFBIG), plus a NUL that is not
 * counted. The caller owns *ret_data.
 */
int file_read(const char *path, size_t max, char **ret_data, size_t *ret_size);
/* file_read_in() - the same, opened as by file_open_in(). */
int file_read_in(const char *root, const char *path, size_t max, char **ret_data, size_t *ret_size);

/* file_write_all() - write() until all @size bytes are out. */
int file_write_all(int fd, const void *data, size_t size);

/*
 * file_replace() - put @data at @path: a temporary file beside it, fsync, rename, fsync of the
 * folder.
 */
int file_replace(const char *path, const void *data, size_t size);

/*
 * file_put() - file_replace() without the fsync of the folder: of several files of one folder it is
 * called once, behind the last.
 */
int file_put(const char *path, const void *data, size_t size);

/* file_sync_parent() - fsync the folder that holds @path. */
int file_sync_parent(const char *path);

/*
 * file_open_beneath() - open @path below the folder @dir_fd with @flags, by openat2() where that is
 * allowed; a path that leaves the folder is refused, through links too. @links: follow links that
 * stay inside.
 * Return: a descriptor, owned by the caller, or -errno; -EXDEV: the path leaves the folder.
 */
int file_open_beneath(int dir_fd, const char *path, int flags, bool links);

/*
 * file_open_in() - open @path with @flags. @root: the folder, part of @path, that no link on the
 * way may leave; NULL: links lead anywhere. Return: a descriptor, owned by the caller, or -errno;
 * -EXDEV: the path leaves the root.
 */
int file_open_in(const char *root, const char *path, int flags);

/* dir_make() - mkdir -p, mode 0750. */
int dir_make(const char *path);

/* dir_make_mode() - the same with another mode, of which the umask takes its part. */
int dir_make_mode(const char *path, mode_t mode);

/* dir_remove() - delete @path and all below it, without following links; a missing one is fine. */
int dir_remove(const char *path);
