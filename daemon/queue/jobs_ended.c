// SPDX-License-Identifier: Apache-2.0
#include "daemon/queue/jobs.h"

#include "base/file.h"
#include "base/json.h"
#include "base/log/log.h"
#include "base/str.h"
#include "daemon/access/access.h"
#include "daemon/files/paths.h"
#include "daemon/queue/job_json.h"
#include "daemon/queue/submission.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#define WINDOWS_BYTES_MAX (256 << 20)

/* -------- again -------- */

static int check_retry(const struct job_row *row, struct failure *failure) {
    const char *hint = row->status == JOB_SUCCEEDED
                           ? "it has what it can give: submit a new job to do it once more"
                           : "wait for its end, or cancel it first";

    if (row->status == JOB_FAILED || row->status == JOB_CANCELLED)
        return 0;
    return failure_set(failure, -EBUSY, "job_not_retryable", hint,
                       "cannot retry job '%" PRId64 "': it is %s, neither failed nor cancelled",
                       row->id, job_status_name(row->status));
}

/* What a client would have to send for the same job. */
static json_t *whole_request(const struct job_row *row) {
    cleanup(json_decrefp) json_t *request = json_clone(row->request);

    if (!request || json_object_set_new(request, "kind", json_string(row->kind)) ||
        json_object_set_new(request, "name", json_string(row->name)) ||
        json_object_set_new(request, "where",
                            json_string(row->executor ? row->executor : JOBS_ANYWHERE)) ||
        json_object_set_new(request, "priority", json_integer(row->priority)) ||
        json_object_set_new(request, "private", json_boolean(row->private)) ||
        (row->notify && json_object_set_new(request, "notify", json_string(row->notify))) ||
        json_object_set_new(request, "labels", json_clone(row->labels)))
        return NULL;
    return steal_ptr(request);
}

int jobs_retry(struct jobs *jobs, const struct caller *caller, const char *key, int64_t id,
               json_t **ret_job, struct failure *failure) {
    cleanup(cached_job_freep) struct cached_job *cached = NULL;
    cleanup(json_decrefp) json_t *request = NULL;
    bool created = false;
    int64_t joins = 0;
    int r = jobs_see(jobs, caller, id, &cached, failure);

    if (!r)
        r = access_change(caller, cached->row, "retry", failure);
    if (!r)
        r = check_retry(cached->row, failure);
    if (r)
        return r;
    request = whole_request(cached->row);
    if (!request)
        return failure_oom(failure);
    /* As a member of the group, when that is the caller's too. */
    if (str_equal(caller->owner, cached->row->owner))
        joins = json_integer_value(json_object_get(cached->row->group, "id"));
    r = jobs_submit_to(jobs, caller, key, request, joins, ret_job, &created, failure);
    if (!r && created)
        log_info("job %" JSON_INTEGER_FORMAT " is job %" PRId64 " again",
                 json_integer_value(json_object_get(*ret_job, "id")), id);
    return r;
}

/* -------- deleting -------- */

/* Inside a transaction. @dir: of its checkpoint, which waiting and running jobs may read. */
static int delete_row(struct jobs *jobs, const struct caller *caller, int64_t id, const char *dir,
                      struct failure *failure) {
    cleanup(job_row_freep) struct job_row *row = NULL;
    int64_t user = 0;
    int r = store_get_job(jobs->store, id, &row);

    if (r == -ENOENT)
        return jobs_not_found(id, failure);
    if (!r)
        r = access_change(caller, row, "delete", failure);
    if (r)
        return r;
    if (!job_status_ended(row->status))
        return failure_set(
            failure, -EBUSY, "job_not_ended", "cancel it first, and wait for its end",
            "cannot delete job '%" PRId64 "': it is %s", id, job_status_name(row->status));
    r = store_find_user(jobs->store, dir, &user);
    if (!r)
        return failure_set(failure, -EBUSY, "job_in_use", "wait for its end, or cancel it first",
                           "cannot delete job '%" PRId64 "': job %" PRId64 " reads its checkpoint",
                           id, user);
    return r == -ENOENT ? store_delete_job(jobs->store, id) : r;
}

int jobs_delete(struct jobs *jobs, const struct caller *caller, int64_t id,
                struct failure *failure) {
    cleanup(freep) char *artifact = paths_artifact(jobs->jobs_dir, id);
    cleanup(freep) char *dir = paths_job(jobs->jobs_dir, id);
    int r;

    if (!artifact || !dir)
        return failure_oom(failure);
    r = store_begin(jobs->store, STORE_WRITE, failure);
    if (r)
        return r;
    r = delete_row(jobs, caller, id, artifact, failure);
    r = store_end(jobs->store, r, failure);
    if (r)
        return r;
    log_record(LOG_INFO, LOG_FIELDS(.job = id), "job %" PRId64 " deleted", id);
    events_wake(jobs->events);
    /* The row first: what a crash leaves here belongs to no job, and the next start removes it. */
    r = dir_remove(dir);
    if (r)
        log_warning("cannot remove '%s', the next start tries again: %s", dir, strerror(-r));
    return 0;
}

/* -------- what was measured, window by window -------- */

int jobs_windows(struct jobs *jobs, const struct caller *caller, int64_t id, json_t **ret_sets,
                 struct failure *failure) {
    cleanup(cached_job_freep) struct cached_job *cached = NULL;
    cleanup(json_decrefp) json_t *record = NULL, *sets = json_array();
    cleanup(freep) char *dir = paths_job(jobs->jobs_dir, id), *path = NULL;
    const char *name;
    json_t *set;
    int r = jobs_see(jobs, caller, id, &cached, failure);

    if (r)
        return r;
    path = dir ? str_format("%s/windows.json", dir) : NULL;
    if (!path || !sets)
        return failure_oom(failure);
    r = json_parse_file(path, WINDOWS_BYTES_MAX, "damaged", &record, failure);
    if (r && r != -ENOENT)
        return r;
    json_object_foreach(record, name, set) {
        if (json_array_append_new(sets, json_pack("{ss sO sO}", "set", name, "sha256",
                                                  json_object_get(set, "sha256"), "nll",
                                                  json_object_get(set, "nll"))))
            return failure_oom(failure);
    }
    *ret_sets = steal_ptr(sets);
    return 0;
}

/* -------- its files -------- */

/* Opens a file that the job's result lists, and that is still the size it was listed with. */
static int open_listed(struct jobs *jobs, int64_t id, const json_t *item,
                       struct artifact *ret_artifact, struct failure *failure) {
    const char *name = json_string_value(json_object_get(item, "name"));
    const char *sha256 = json_string_value(json_object_get(item, "sha256"));
    json_int_t bytes = json_integer_value(json_object_get(item, "bytes"));
    cleanup(freep) char *path = paths_artifact(jobs->jobs_dir, id);
    cleanup(closep) int dir = -1;
    cleanup(closep) int fd = -1;
    struct stat st;

    if (!path)
        return failure_oom(failure);
    dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (dir < 0)
        return failure_errno(failure, errno == ENOENT ? -EIO : -errno, "cannot open", path);
    fd = paths_open_beneath(dir, name, O_RDONLY | O_NONBLOCK, false);
    if (fd < 0)
        return failure_errno(failure, fd == -ENOENT ? -EIO : fd, "cannot open", name);
    if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size != bytes)
        return failure_set(
            failure, -EIO, "artifact_damaged",
            "quantize the model again; check which other program writes into the state folder",
            "the file '%s' of job %" PRId64 " has changed since it was written", name, id);
    snprintf(ret_artifact->sha256, sizeof(ret_artifact->sha256), "%s", sha256 ? sha256 : "");
    ret_artifact->size = (uint64_t)st.st_size;
    ret_artifact->fd = steal_fd(&fd);
    return 0;
}

/* The entry of @name in the result of @row; NULL: there is none. */
static const json_t *find_artifact(const struct job_row *row, const char *name) {
    json_t *item;
    size_t i;

    json_array_foreach(json_object_get(row->result, "artifacts"), i, item) {
        if (str_is_safe_name(name) &&
            str_equal(json_string_value(json_object_get(item, "name")), name))
            return item;
    }
    return NULL;
}

int jobs_open_artifact(struct jobs *jobs, const struct caller *caller, int64_t id, const char *name,
                       struct artifact *ret_artifact, struct failure *failure) {
    cleanup(cached_job_freep) struct cached_job *cached = NULL, *still = NULL;
    struct failure gone;
    const json_t *item;
    int r = jobs_see(jobs, caller, id, &cached, failure);

    if (r)
        return r;
    item = find_artifact(cached->row, name);
    if (!item)
        return failure_set(failure, -ENOENT, "artifact_not_found",
                           "list the job's artifacts to see their names",
                           "job %" PRId64 " has no file '%s'", id, name);
    r = open_listed(jobs, id, item, ret_artifact, failure);
    /* The job may have been deleted between its row and its file: then that is the answer. */
    if (r && jobs_see(jobs, caller, id, &still, &gone) == -ENOENT) {
        *failure = gone;
        return -ENOENT;
    }
    return r;
}
