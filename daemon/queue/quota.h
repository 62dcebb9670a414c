// SPDX-License-Identifier: Apache-2.0
/* What one user may take of the queue: a mistake of one must not take it from the others. */
#pragma once

#include "api/service.h"

#include <stdatomic.h>

struct store;

/* The limits; each may be set at any time. For numbers of jobs, 0 means no limit. */
struct quota {
    atomic_int owner_jobs;     /* of one owner that have not ended */
    atomic_int queue_limit;    /* that wait */
    atomic_int priority_limit; /* for users other than admins; 0: none above the default */
};

/*
 * quota_check() - may @caller append @more jobs? Inside the transaction that does it. Jobs of one
 * owner that have not ended are limited, admins excepted; waiting jobs are limited for all callers.
 * Return: 0; -EDQUOT (owner_quota); -EAGAIN (queue_full); or another -errno.
 */
int quota_check(const struct quota *quota, struct store *store, const struct caller *caller,
                size_t more, struct failure *failure);

/* quota_check_priority() - may @caller ask for @priority? Return: 0; -EPERM (priority_limit). */
int quota_check_priority(const struct quota *quota, const struct caller *caller, int priority,
                         struct failure *failure);
