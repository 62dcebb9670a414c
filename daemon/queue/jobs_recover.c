// SPDX-License-Identifier: Apache-2.0
#include "daemon/queue/jobs.h"

#include "base/file.h"
#include "base/log/log.h"
#include "base/str.h"
#include "daemon/files/paths.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* Ids of jobs, as they were listed. */
struct ids {
    int64_t *at; /* owned */
    size_t n;
};

static int add_id(void *ctx, const struct job_summary *summary) {
    struct ids *ids = ctx;
    int64_t *at = reallocarray(ids->at, ids->n + 1, sizeof(*at));

    if (!at)
        return -ENOMEM;
    ids->at = at;
    at[ids->n++] = summary->id;
    return 0;
}

/* The jobs that run by their rows, though not by what executors know. */
static int list_orphans(struct jobs *jobs, struct ids *ids, struct failure *failure) {
    struct store_filter filter = {.status = "running,cancelling", .limit = INT_MAX};
    struct ids all = {};
    int r = store_begin(jobs->store, STORE_READ, failure);

    if (r)
        return r;
    r = store_list_summaries(jobs->store, &filter, add_id, &all);
    if (r == -ENOMEM)
        failure_oom(failure);
    r = store_end(jobs->store, r, failure);
    for (size_t i = 0; i < all.n && !r; i++) {
        if (!jobs->lives || !jobs->lives(jobs->lives_ctx, all.at[i]))
            all.at[ids->n++] = all.at[i];
    }
    ids->at = all.at;
    return r;
}

static int get_lease(struct jobs *jobs, int64_t id, struct lease *ret_lease,
                     struct failure *failure) {
    int r = store_begin(jobs->store, STORE_READ, failure);

    if (r)
        return r;
    r = store_get_lease(jobs->store, id, ret_lease);
    return store_end(jobs->store, r, failure);
}

/* By its lease: whose fault is it that the job did not come to an end? */
static int recover(struct jobs *jobs, int64_t id, struct failure *failure) {
    struct lease lease;
    int r = get_lease(jobs, id, &lease, failure);

    if (r)
        return r;
    if (jobs->boot[0] && lease.boot[0] && !str_equal(lease.boot, jobs->boot))
        return jobs_interrupt(jobs, id, "reboot", STOP_REBOOT, failure);
    if (lease.boot[0])
        log_record(LOG_NOTICE, LOG_FIELDS(.job = id),
                   "job %" PRId64 " gave its last sign of life %.1f seconds ago", id,
                   (double)(lease_now() - lease.at) / 1000);
    return jobs_interrupt(jobs, id, "restart", STOP_CRASH, failure);
}

static int abandon(struct jobs *jobs, int64_t id, struct failure *failure) {
    return jobs_interrupt(jobs, id, "shutdown", STOP_ASKED, failure);
}

/* Calls @each with every job whose run has come to no end, and never will. */
static int each_orphan(struct jobs *jobs,
                       int (*each)(struct jobs *jobs, int64_t id, struct failure *failure),
                       struct failure *failure) {
    struct ids ids = {};
    int r = list_orphans(jobs, &ids, failure);

    for (size_t i = 0; i < ids.n && !r; i++) {
        r = each(jobs, ids.at[i], failure);
        if (r == -ESTALE) /* it has come to its end meanwhile */
            r = 0;
    }
    free(ids.at);
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
    return each_orphan(jobs, abandon, failure);
}

int jobs_recover(struct jobs *jobs, struct failure *failure) {
    int r = each_orphan(jobs, recover, failure);

    return r ? r : clean_files(jobs, failure);
}
