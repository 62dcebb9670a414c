// SPDX-License-Identifier: Apache-2.0
#include "daemon/queue/quota.h"

#include "daemon/store/store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

static int check_owner(int limit, struct store *store, const struct caller *caller, size_t more,
                       struct failure *failure) {
    int64_t n;
    int r;

    if (!limit || caller->role >= ROLE_ADMIN)
        return 0;
    r = store_count_owner(store, caller->owner, &n);
    if (r || n + (int64_t)more <= limit)
        return r;
    if (more > 1)
        return failure_set(failure, -EDQUOT, "owner_quota",
                           "wait until some of them have ended, or submit fewer jobs",
                           "'%s' has %" PRId64 " jobs that have not ended, and %d are allowed: "
                           "%zu more are too many",
                           caller->owner, n, limit, more);
    return failure_set(failure, -EDQUOT, "owner_quota",
                       "wait until some of them have ended, or cancel some",
                       "'%s' has %" PRId64 " jobs that have not ended, and %d are allowed",
                       caller->owner, n, limit);
}

static int check_queue(int limit, struct store *store, size_t more, struct failure *failure) {
    int64_t n;
    int r;

    if (!limit)
        return 0;
    r = store_count_jobs(store, JOB_QUEUED, &n);
    if (r || n + (int64_t)more <= limit)
        return r;
    if (more > 1)
        return failure_set(failure, -EAGAIN, "queue_full", "try again when jobs have ended",
                           "the queue has no room for %zu more jobs: %" PRId64 " wait, and %d may",
                           more, n, limit);
    return failure_set(failure, -EAGAIN, "queue_full", "try again when jobs have ended",
                       "the queue is full: %" PRId64 " jobs wait", n);
}

int quota_check(const struct quota *quota, struct store *store, const struct caller *caller,
                size_t more, struct failure *failure) {
    int r = check_owner(quota->owner_jobs, store, caller, more, failure);

    return r ? r : check_queue(quota->queue_limit, store, more, failure);
}

int quota_check_priority(const struct quota *quota, const struct caller *caller, int priority,
                         struct failure *failure) {
    int limit = quota->priority_limit;

    if (priority <= limit || caller->role >= ROLE_ADMIN)
        return 0;
    failure_set(failure, -EPERM, "priority_limit", "leave priority out, or ask an admin of quantd",
                "priority: %d is more than the %d that users may ask for", priority, limit);
    if (failure)
        snprintf(failure->field, sizeof(failure->field), "priority");
    return -EPERM;
}
