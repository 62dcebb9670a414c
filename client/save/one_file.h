// SPDX-License-Identifier: Apache-2.0
/*
 * A checkpoint that is saved as one file, NAME.pt or NAME.gguf, and not as a folder. It arrives in
 * a folder NAME.pt.part beside it, from which a later try goes on. One thread.
 */
#pragma once

#include "base/failure.h"

#include <jansson.h>
#include <stdbool.h>

/*
 * one_file_format() - the format whose file @save names by its ending; NULL: @save is NULL, or a
 * folder, as is everything that is one already.
 */
const char *one_file_format(const char *save);

/*
 * one_file_check() - can a file be saved as @path? Without @force one that is there is refused; so
 * is a folder NAME.pt.part that holds more than parts and the file @name (NULL: none), which an
 * interrupted saving leaves. Return: 0, -EEXIST or another -errno. Makes nothing.
 */
int one_file_check(const char *path, const char *name, bool force, struct failure *failure);

/*
 * one_file_check_request() - can a job with @params be saved as the file @path? Return: as
 * one_file_check(), or -EINVAL (code usage): the job's format is another.
 */
int one_file_check_request(const char *path, const json_t *params, bool force,
                           struct failure *failure);

/*
 * one_file_pick() - of the @files of job @id, as the daemon lists them, that which goes to @path:
 * an array of one, owned by the caller. Return: 0, -ENOENT (code no_artifacts) or -ENOMEM.
 */
int one_file_pick(const char *path, int64_t id, const json_t *files, json_t **ret_files,
                  struct failure *failure);

/* one_file_folder() - where it arrives; NULL when out of memory, else owned by the caller. */
char *one_file_folder(const char *path);

/*
 * one_file_publish() - move the file @name, which has arrived, to @path; its folder goes when
 * nothing else is in it. Return: 0 or -errno.
 */
int one_file_publish(const char *path, const char *name, bool force, struct failure *failure);
