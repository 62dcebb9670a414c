// SPDX-License-Identifier: Apache-2.0
/*
 * Groups: jobs that were submitted together. Their jobs are as any others; a group is what they
 * have in common, and a view of their results side by side. Any thread, outside a transaction.
 */
#pragma once

#include "daemon/queue/jobs.h"

/* groups_submit() - as struct service's submit_group. */
int groups_submit(struct jobs *jobs, const struct caller *caller, const char *key,
                  const json_t *body, json_t **ret_group, bool *ret_created,
                  struct failure *failure);

/* groups_object() - as struct service's group; @known 0: always the object. */
int groups_object(struct jobs *jobs, const struct caller *caller, int64_t id, uint64_t known,
                  json_t **ret_group, uint64_t *ret_version, struct failure *failure);

/* groups_list() - as struct service's groups. */
int groups_list(struct jobs *jobs, const struct caller *caller, const struct groups_filter *filter,
                json_t **ret_list, struct failure *failure);

/*
 * groups_cancel() - cancel all jobs of the group that have not ended, as jobs_cancel_group():
 * their executors must be notified. -ENOENT, -EPERM: it is another's.
 */
int groups_cancel(struct jobs *jobs, const struct caller *caller, int64_t id, json_t **ret_ids,
                  struct failure *failure);

/* groups_order() - as struct service's order_group, without the answer. */
int groups_order(struct jobs *jobs, const struct caller *caller, int64_t id,
                 const struct job_order *order, struct failure *failure);
