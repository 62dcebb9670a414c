// SPDX-License-Identifier: Apache-2.0
#include "daemon/executor/leftover.h"

#include "base/file.h"
#include "base/json.h"
#include "base/log/log.h"
#include "base/str.h"
#include "daemon/files/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define JSON_MAX (64 << 20)
#define NAMES_MAX 1000 /* of folders that were moved away */

static json_t *read_json(const char *dir, const char *name) {
    cleanup(freep) char *path = str_format("%s/%s", dir, name);
    json_t *value = NULL;

    if (path)
        json_parse_file(path, JSON_MAX, "damaged", &value, NULL);
    return value;
}

/* seqlen and batch that the request leaves open were chosen when the job ran. */
static bool is_open(const char *key, const json_t *value) {
    return (str_equal(key, "seqlen") || str_equal(key, "batch")) &&
           (json_is_null(value) || (json_is_integer(value) && !json_integer_value(value)));
}

/* Does every parameter that both name have the same value? */
static bool same_params(const json_t *wanted, const json_t *made) {
    const char *key;
    json_t *value;

    if (!json_is_object(wanted) || !json_is_object(made))
        return false;
    json_object_foreach((json_t *)wanted, key, value) {
        const json_t *other = json_object_get(made, key);

        if (other && !is_open(key, value) && !json_equal(value, (json_t *)other))
            return false;
    }
    return str_equal(json_string_value(json_object_get(wanted, "model")),
                     json_string_value(json_object_get(made, "model")));
}

/* Is every file of DIR/@folder/manifest.json there, as large as it says? */
static bool has_files(const char *dir, const char *folder) {
    cleanup(freep) char *list = str_format("%s/manifest.json", folder);
    cleanup(json_decrefp) json_t *manifest = list ? read_json(dir, list) : NULL;
    json_t *files = json_object_get(manifest, "files"), *file;
    size_t i;

    json_array_foreach(files, i, file) {
        const char *name = json_string_value(json_object_get(file, "name"));
        cleanup(freep) char *path = NULL;
        struct stat st;

        if (!name || !str_is_safe_name(name) || !(path = str_format("%s/%s/%s", dir, folder, name)))
            return false;
        if (lstat(path, &st) || !S_ISREG(st.st_mode) ||
            st.st_size != json_integer_value(json_object_get(file, "bytes")))
            return false;
    }
    return json_array_size(files) > 0;
}

/* Are the codes whole, as far as their list says, which an earlier quantd did not write? */
static bool has_codes(const char *dir) {
    cleanup(freep) char *list = str_format("%s/codes/manifest.json", dir);

    return list && (access(list, F_OK) || has_files(dir, "codes"));
}

/* Is the checkpoint in @dir what the job @row would make? */
static bool is_result_of(const struct job_row *row, const char *dir) {
    cleanup(json_decrefp) json_t *quantd = read_json(dir, "artifact/quantd.json");
    cleanup(json_decrefp) json_t *result = read_json(dir, "result.json");

    return str_equal(row->kind, "quantize") &&
           json_is_array(json_object_get(result, "artifacts")) &&
           same_params(row->params, json_object_get(quantd, "params")) &&
           has_files(dir, "artifact") && has_codes(dir);
}

static int move_away(const struct job_row *row, const char *dir, struct failure *failure) {
    for (int i = 1; i <= NAMES_MAX; i++) {
        cleanup(freep) char *other =
            i == 1 ? str_format("%s.kept", dir) : str_format("%s.kept-%d", dir, i);

        if (!other)
            return failure_oom(failure);
        if (renameat2(AT_FDCWD, dir, AT_FDCWD, other, RENAME_NOREPLACE)) {
            if (errno == EEXIST)
                continue;
            return failure_errno(failure, -errno, "cannot move the folder", dir);
        }
        log_record(LOG_WARNING, LOG_FIELDS(.job = row->id),
                   "the folder of job %" PRId64 ", which has not run, held the checkpoint of "
                   "another job: it is now '%s'; the database is older than the folder",
                   row->id, other);
        return 0;
    }
    return failure_errno(failure, -EEXIST, "cannot move the folder", dir);
}

int leftover_settle(const struct job_row *row, const char *dir, struct failure *failure) {
    cleanup(freep) char *artifact = str_format("%s/artifact", dir);
    int r;

    if (!artifact)
        return failure_oom(failure);
    if (access(artifact, F_OK)) {
        r = errno == ENOENT ? dir_remove(dir) : -errno;
        return r ? failure_errno(failure, r, "cannot prepare the job's folder", dir) : 0;
    }
    if (!is_result_of(row, dir))
        return move_away(row, dir, failure);
    log_record(LOG_NOTICE, LOG_FIELDS(.job = row->id),
               "job %" PRId64 " was done before, with the same parameters: its checkpoint is taken "
               "from '%s'; the database is older than the folder",
               row->id, dir);
    return 0;
}

int leftover_make_dir(const struct jobs *jobs, const struct job_row *row, char **ret_dir,
                      struct failure *failure) {
    cleanup(freep) char *dir = paths_job(jobs->jobs_dir, row->id);
    int r;

    if (!dir)
        return failure_oom(failure);
    r = row->attempt == 1 && !row->progress && !row->engine ? leftover_settle(row, dir, failure)
                                                            : 0;
    if (r)
        return r;
    r = dir_make(dir);
    if (r)
        return failure_errno(failure, r, "cannot prepare the job's folder", dir);
    *ret_dir = steal_ptr(dir);
    return 0;
}
