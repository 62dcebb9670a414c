// SPDX-License-Identifier: Apache-2.0
/* Where the files of a job are. daemon/files/ may use base alone. Any thread. */
#pragma once

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>

/* JOBS-DIR/ID, the folder of a job; the caller owns it; NULL when out of memory. */
char *paths_job(const char *jobs_dir, int64_t id);

/* JOBS-DIR/ID/artifact, its finished checkpoint; likewise. */
char *paths_artifact(const char *jobs_dir, int64_t id);

/*
 * paths_open_beneath() - openat2() of @path below the folder @dir_fd with @flags; a path that
 * leaves the folder is refused, through links too. @links: follow links that stay inside.
 * Return: a file descriptor, owned by the caller, or -errno; -EXDEV: the path leaves the folder.
 */
int paths_open_beneath(int dir_fd, const char *path, int flags, bool links);
