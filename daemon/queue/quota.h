// SPDX-License-Identifier: Apache-2.0
/* How many jobs may wait: a mistake of one user must not take the queue from the others. */
#pragma once

#include "api/service.h"

#include <stdatomic.h>

struct store;

/* The limits; each may be set at any time. 0: no limit. */
struct quota {
    atomic_int owner_jobs;  /* of one owner that have not ended */
    atomic_int queue_limit; /* that wait */
};

/*
 * quota_check() - may @caller append one more job? Inside the transaction that does it. Jobs of one
 * owner that have not ended are limited, admins excepted; jobs that wait are limited for everybody.
 * Return: 0; -EDQUOT (owner_quota); -EAGAIN (queue_full); or another -errno.
 */
int quota_check(const struct quota *quota, struct store *store, const struct caller *caller,
                struct failure *failure);
