// SPDX-License-Identifier: Apache-2.0
#include "daemon/queue/quota.h"

#include <errno.h>
#include <inttypes.h>

static int check_owner(struct jobs *jobs, const struct caller *caller, struct failure *failure) {
    int limit = jobs->owner_jobs, r;
    int64_t n;

    if (!limit || caller->role >= ROLE_ADMIN)
        return 0;
    r = store_count_owner(jobs->store, caller->owner, &n);
    if (r || n < limit)
        return r;
    return failure_set(failure, -EDQUOT, "owner_quota",
                       "wait until some of them have ended, or cancel some",
                       "'%s' has %" PRId64 " jobs that have not ended, and %d are allowed",
                       caller->owner, n, limit);
}

static int check_queue(struct jobs *jobs, struct failure *failure) {
    int limit = jobs->queue_limit, r;
    int64_t n;

    if (!limit)
        return 0;
    r = store_count_jobs(jobs->store, JOB_QUEUED, &n);
    if (r || n < limit)
        return r;
    return failure_set(failure, -EAGAIN, "queue_full", "try again when jobs have ended",
                       "the queue is full: %" PRId64 " jobs wait", n);
}

int quota_check(struct jobs *jobs, const struct caller *caller, struct failure *failure) {
    int r = check_owner(jobs, caller, failure);

    return r ? r : check_queue(jobs, failure);
}
