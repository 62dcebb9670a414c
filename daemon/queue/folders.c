// SPDX-License-Identifier: Apache-2.0
#include "daemon/queue/folders.h"

#include "base/file.h"
#include "base/log/log.h"
#include "base/str.h"
#include "daemon/files/paths.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define ID_MAX ((uint64_t)1 << 53) /* that JSON numbers hold */
#define IDS_LOGGED 10

/* The status of job @id; -ENOENT: it has no row. */
static int status_of(struct jobs *jobs, int64_t id, enum job_status *ret_status,
                     struct failure *failure) {
    cleanup(job_row_freep) struct job_row *row = NULL;
    int r = store_begin(jobs->store, STORE_READ, failure);

    if (r)
        return r;
    r = store_get_job(jobs->store, id, &row);
    r = store_end(jobs->store, r, failure);
    if (!r)
        *ret_status = row->status;
    return r;
}

int folders_each(struct jobs *jobs, int (*each)(void *ctx, int64_t id), void *ctx,
                 struct failure *failure) {
    cleanup(closedirp) DIR *dir = opendir(jobs->jobs_dir);
    struct dirent *entry;
    uint64_t id;
    int r = 0;

    if (!dir)
        return failure_errno(failure, -errno, "cannot open", jobs->jobs_dir);
    while (!r && (entry = readdir(dir)))
        if (!str_parse_u64(entry->d_name, ID_MAX, &id) && id > 0)
            r = each(ctx, (int64_t)id);
    return r;
}

static int remove_folder(struct jobs *jobs, int64_t id) {
    cleanup(freep) char *dir = paths_job(jobs->jobs_dir, id);
    int r = dir ? dir_remove(dir) : -ENOMEM;

    if (r)
        log_warning("cannot remove the files of job %" PRId64 ": %s", id, strerror(-r));
    return r;
}

/* -------- at a start -------- */

/* Folders of deleted jobs, when a crash came between the row and the files. */
static int finish_removals(struct jobs *jobs, struct failure *failure) {
    int64_t id = 0;
    int r;

    for (;;) {
        r = store_begin(jobs->store, STORE_READ, failure);
        if (r)
            return r;
        r = store_next_removal(jobs->store, id, &id);
        r = store_end(jobs->store, r, failure);
        if (r)
            return r == -ENOENT ? 0 : r;
        if (remove_folder(jobs, id))
            continue; /* the next start tries again */
        r = store_begin(jobs->store, STORE_WORK, failure);
        if (r)
            return r;
        r = store_end(jobs->store, store_end_removal(jobs->store, id), failure);
        if (r)
            return r;
    }
}

/* What a look at all folders finds. */
struct found {
    struct jobs *jobs;
    struct failure *failure;
    int64_t last; /* the largest number */
    int n_orphans;
    struct strbuf orphans; /* the first of them, for the log */
};

static int look_at(void *ctx, int64_t id) {
    struct found *found = ctx;
    enum job_status status;
    int r = status_of(found->jobs, id, &status, found->failure);

    found->last = MAX(found->last, id);
    if (r == -ENOENT) {
        if (found->n_orphans++ < IDS_LOGGED)
            strbuf_printf(&found->orphans, "%s%" PRId64, found->n_orphans > 1 ? ", " : "", id);
        return 0;
    }
    if (!r && (status == JOB_FAILED || status == JOB_CANCELLED))
        remove_folder(found->jobs, id);
    return r;
}

static void log_orphans(const struct found *found, const char *numbers) {
    if (found->n_orphans)
        log_warning(
            "%d folders in '%s' belong to no job of the database, which was lost or is older "
            "than they are: %s%s; they are kept, and new jobs get numbers above %" PRId64
            "; put the database back from a backup, or list and adopt the folders by 'quantctl "
            "admin adopt'",
            found->n_orphans, found->jobs->jobs_dir, numbers,
            found->n_orphans > IDS_LOGGED ? ", ..." : "", found->last);
}

int folders_clean(struct jobs *jobs, struct failure *failure) {
    struct found found = {.jobs = jobs, .failure = failure};
    cleanup(freep) char *numbers = NULL;
    int r = finish_removals(jobs, failure);

    if (!r)
        r = folders_each(jobs, look_at, &found, failure);
    numbers = strbuf_steal(&found.orphans);
    if (r)
        return r;
    log_orphans(&found, numbers ? numbers : "");
    r = store_begin(jobs->store, STORE_WORK, failure);
    if (r)
        return r;
    r = store_reserve_ids(jobs->store, found.last);
    return store_end(jobs->store, r < 0 ? r : 0, failure);
}
