// SPDX-License-Identifier: Apache-2.0
#include "daemon/queue/jobs.h"

#include "base/file.h"
#include "base/log/log.h"
#include "base/str.h"
#include "daemon/queue/folders.h"

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

int jobs_abandon(struct jobs *jobs, struct failure *failure) {
    return each_orphan(jobs, abandon, failure);
}

int jobs_recover(struct jobs *jobs, struct failure *failure) {
    int r = each_orphan(jobs, recover, failure);

    return r ? r : folders_clean(jobs, failure);
}
