// SPDX-License-Identifier: Apache-2.0
#include "daemon/queue/jobs.h"

#include "base/file.h"
#include "base/log/log.h"
#include "base/macros.h"
#include "base/str.h"
#include "daemon/files/paths.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static int keep_id(void *ctx, const struct job_summary *summary) {
    *(int64_t *)ctx = summary->id;
    return 0;
}

/* A job that has @status, with its lease; 0 when there is none. */
static int any_job(struct jobs *jobs, enum job_status status, int64_t *ret_id,
                   struct lease *ret_lease, struct failure *failure) {
    struct store_filter filter = {.status = job_status_name(status), .limit = 1};
    int r = store_begin(jobs->store, STORE_READ, failure);

    *ret_id = 0;
    if (r)
        return r;
    r = store_list_summaries(jobs->store, &filter, keep_id, ret_id);
    if (!r && *ret_id)
        r = store_get_lease(jobs->store, *ret_id, ret_lease);
    return store_end(jobs->store, r, failure);
}

/* By its lease: whose fault is it that the job did not come to an end? */
static int recover(struct jobs *jobs, int64_t id, const struct lease *lease,
                   struct failure *failure) {
    if (jobs->boot[0] && lease->boot[0] && !str_equal(lease->boot, jobs->boot))
        return jobs_interrupt(jobs, id, "reboot", STOP_REBOOT, failure);
    if (lease->boot[0])
        log_record(LOG_NOTICE, LOG_FIELDS(.job = id),
                   "job %" PRId64 " gave its last sign of life %.1f seconds ago", id,
                   (double)(lease_now() - lease->at) / 1000);
    return jobs_interrupt(jobs, id, "restart", STOP_CRASH, failure);
}

static int requeue(struct jobs *jobs, enum job_status status, struct failure *failure) {
    struct lease lease;
    int64_t id;
    int r;

    /* Each round ends or queues one: the loop ends. */
    while (!(r = any_job(jobs, status, &id, &lease, failure)) && id) {
        r = recover(jobs, id, &lease, failure);
        if (r)
            return r;
    }
    return r;
}

/*
 * Files of a job that failed, was cancelled or deleted, when a crash came between the row and the
 * files. An id above @last was never ours: the folder is of another store.
 */
static void clean_job(struct jobs *jobs, int64_t id, int64_t last, const char *dir) {
    cleanup(job_row_freep) struct job_row *row = NULL;
    struct failure failure;
    int r = jobs_find(jobs, id, &row, &failure);

    if (r == -ENOENT && id > last) {
        log_warning("'%s' belongs to no job; it is left alone", dir);
        return;
    }
    if (r && r != -ENOENT)
        return;
    if (!r && row->status != JOB_FAILED && row->status != JOB_CANCELLED)
        return;
    r = dir_remove(dir);
    if (r)
        log_warning("cannot remove '%s': %s", dir, strerror(-r));
}

static int last_job(struct jobs *jobs, int64_t *ret_id, struct failure *failure) {
    int r = store_begin(jobs->store, STORE_READ, failure);

    if (r)
        return r;
    r = store_last_job(jobs->store, ret_id);
    return store_end(jobs->store, r, failure);
}

static int clean_files(struct jobs *jobs, struct failure *failure) {
    cleanup(freep) char *path = str_format("%s/jobs", jobs->state_dir);
    cleanup(closedirp) DIR *dir = NULL;
    struct dirent *entry;
    int64_t last = 0;
    uint64_t id;
    int r;

    if (!path)
        return failure_oom(failure);
    r = last_job(jobs, &last, failure);
    if (r)
        return r;
    dir = opendir(path);
    if (!dir)
        return failure_errno(failure, -errno, "cannot open", path);
    while ((entry = readdir(dir))) {
        cleanup(freep) char *job_dir = NULL;

        if (str_parse_u64(entry->d_name, INT64_MAX, &id))
            continue;
        job_dir = paths_job(jobs->state_dir, (int64_t)id);
        if (job_dir)
            clean_job(jobs, (int64_t)id, last, job_dir);
    }
    return 0;
}

int jobs_abandon(struct jobs *jobs, struct failure *failure) {
    const enum job_status running[] = {JOB_RUNNING, JOB_CANCELLING};
    struct lease lease;
    int64_t id;
    int r = 0;

    for (size_t i = 0; i < ARRAY_SIZE(running) && !r; i++) {
        while (!(r = any_job(jobs, running[i], &id, &lease, failure)) && id) {
            r = jobs_interrupt(jobs, id, "shutdown", STOP_ASKED, failure);
            if (r)
                return r;
        }
    }
    return r;
}

int jobs_recover(struct jobs *jobs, struct failure *failure) {
    int r = requeue(jobs, JOB_RUNNING, failure);

    if (!r)
        r = requeue(jobs, JOB_CANCELLING, failure);
    if (!r)
        r = clean_files(jobs, failure);
    return r;
}
