// SPDX-License-Identifier: Apache-2.0
/* How many jobs may wait: one user's mistake is not to cost the others the queue. */
#pragma once

#include "daemon/queue/jobs.h"

/*
 * quota_check() - may @caller append one more job? Inside the transaction that does it. Jobs of one
 * owner that have not ended are limited, admins excepted; jobs that wait are limited for everybody.
 * Return: 0; -EDQUOT (owner_quota); -EAGAIN (queue_full); or another -errno.
 */
int quota_check(struct jobs *jobs, const struct caller *caller, struct failure *failure);
