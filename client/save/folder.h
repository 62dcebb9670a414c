// SPDX-License-Identifier: Apache-2.0
/*
 * The folder that the files of a job are saved in. Files arrive in DIR/.part, under names of their
 * content, and are renamed into DIR together, so that DIR never holds files of two jobs: it is
 * locked meanwhile, weights of another model that a reader would find are refused or removed, and
 * at the end every file is looked at again. One thread.
 *
 * Files are those that the daemon lists: [{name, bytes, sha256}], with safe names.
 */
#pragma once

#include "base/failure.h"

#include <jansson.h>
#include <stdbool.h>
#include <sys/stat.h>

#define FOLDER_PART ".part" /* in DIR: what has arrived in part */

struct folder {
    const char *dir;     /* borrowed */
    const json_t *files; /* borrowed */
    char *part;          /* DIR/.part */
    int fd;              /* DIR; holds the lock */
    struct stat *seen;   /* of each file, when its content was checked */
    bool ready;          /* locked, and .part is there */
};

/*
 * folder_check() - can files be saved into @dir, which may be missing? Without @force one that
 * holds files is refused. Return: 0, -EEXIST or another -errno. Makes nothing.
 */
int folder_check(const char *dir, bool force, struct failure *failure);

/*
 * folder_open() - make @dir as the umask says, and lock it.
 * Return: 0; -EBUSY (code folder_busy): another quantctl saves into it; or another -errno.
 */
int folder_open(const char *dir, const json_t *files, struct folder *ret_folder,
                struct failure *failure);
void folder_close(struct folder *folder);

/*
 * folder_find() - is file @i in DIR already, with the right content? *ret_found says so. Another
 * one of its name is refused (-EEXIST) unless @force.
 */
int folder_find(struct folder *folder, size_t i, bool force, bool *ret_found,
                struct failure *failure);

/*
 * folder_find_foreign() - a file in DIR that is not of the job, and that readers of checkpoints
 * would take for part of it; *ret_name is NULL when there is none, else owned by the caller.
 */
int folder_find_foreign(const struct folder *folder, char **ret_name, struct failure *failure);

/* folder_remove_foreign() - remove one of those; *ret_name as above. */
int folder_remove_foreign(const struct folder *folder, char **ret_name, struct failure *failure);

/* folder_part() - where file @i arrives; NULL when out of memory, else owned by the caller. */
char *folder_part(const struct folder *folder, size_t i);

/* folder_arrived() - file @i is whole in DIR/.part, as @fd. Return: 0 or -errno. */
int folder_arrived(struct folder *folder, size_t i, int fd, struct failure *failure);

/*
 * folder_publish() - put what arrived into DIR: old files of the same names go first, config.json
 * comes last, so that a reader never finds two models in one. Then every file is looked at again,
 * and .part is removed.
 * Return: 0; -EIO (code folder_changed): another program has written into DIR; or another -errno.
 */
int folder_publish(struct folder *folder, struct failure *failure);
