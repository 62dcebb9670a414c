// SPDX-License-Identifier: Apache-2.0
#include "client/save/one_file.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "base/macros.h"
#include "base/str.h"
#include "client/http/answer.h"
#include "client/save/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
    const char *ending, *format;
} endings[] = {
    {".pt", "pt"},
    {".gguf", "gguf"},
};

static bool ends_in(const char *s, const char *ending) {
    size_t n = strlen(s), m = strlen(ending);

    return n > m && str_equal(s + n - m, ending);
}

const char *one_file_format(const char *save) {
    struct stat st;

    if (!save || (stat(save, &st) == 0 && S_ISDIR(st.st_mode)))
        return NULL;
    for (size_t i = 0; i < ARRAY_SIZE(endings); i++) {
        if (ends_in(save, endings[i].ending))
            return endings[i].format;
    }
    return NULL;
}

char *one_file_folder(const char *path) {
    return str_format("%s.part", path);
}

static int exists(const char *path, struct failure *failure) {
    return failure_set(failure, -EEXIST, "file_exists",
                       "name another file, or add --force to replace it",
                       "cannot save '%s': a file is there", path);
}

/* Does the folder of the parts of @path hold only what an earlier try left? */
static int check_parts(const char *path, const char *name, struct failure *failure) {
    cleanup(freep) char *folder = one_file_folder(path);
    cleanup(closedirp) DIR *listing = folder ? opendir(folder) : NULL;
    struct dirent *entry;

    if (!folder)
        return failure_oom(failure);
    while (listing && (entry = readdir(listing)))
        if (!str_equal(entry->d_name, ".") && !str_equal(entry->d_name, "..") &&
            !str_equal(entry->d_name, FOLDER_PART) && !str_equal(entry->d_name, name))
            return failure_set(failure, -EEXIST, "folder_not_empty",
                               "name another file, or move that folder away",
                               "cannot save '%s': its parts would come into '%s', which holds '%s'",
                               path, folder, entry->d_name);
    return folder_check(folder, true, failure);
}

int one_file_check(const char *path, const char *name, bool force, struct failure *failure) {
    struct stat st;

    if (!force && lstat(path, &st) == 0)
        return exists(path, failure);
    return check_parts(path, name, failure);
}

int one_file_check_request(const char *path, const json_t *params, bool force,
                           struct failure *failure) {
    const char *asked = answer_text(params, "format"), *format = one_file_format(path);

    if (!str_equal(asked, format))
        return failure_set(
            failure, -EINVAL, "usage",
            "name a folder, or export the job as this file: quantctl export ID --save FILE",
            "cannot save '%s': the format of the job is '%s', not '%s'", path,
            asked[0] ? asked : "gptq", format);
    return one_file_check(path, NULL, force, failure);
}

int one_file_pick(const char *path, int64_t id, const json_t *files, json_t **ret_files,
                  struct failure *failure) {
    const char *dot = strrchr(path, '.');
    json_t *file;
    size_t i;

    json_array_foreach(files, i, file) {
        if (!ends_in(answer_text(file, "name"), dot))
            continue;
        *ret_files = json_pack("[O]", file);
        return *ret_files ? 0 : failure_oom(failure);
    }
    return failure_set(
        failure, -ENOENT, "no_artifacts",
        "name a folder, or export the job as this file: quantctl export ID --save FILE",
        "job %" PRId64 " has no file for '%s': its format is another", id, path);
}

int one_file_publish(const char *path, const char *name, bool force, struct failure *failure) {
    cleanup(freep) char *folder = one_file_folder(path);
    cleanup(freep) char *from = folder ? str_format("%s/%s", folder, name) : NULL;
    int r = 0;

    if (!from)
        return failure_oom(failure);
    if (renameat2(AT_FDCWD, from, AT_FDCWD, path, force ? 0 : RENAME_NOREPLACE))
        return errno == EEXIST ? exists(path, failure)
                               : failure_errno(failure, -errno, "cannot write", path);
    if (rmdir(folder) && errno != ENOTEMPTY && errno != EEXIST) /* what others put there stays */
        r = -errno;
    if (!r)
        r = file_sync_parent(path);
    return r ? failure_errno(failure, r, "cannot write", path) : 0;
}
