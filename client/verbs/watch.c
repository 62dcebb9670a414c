// SPDX-License-Identifier: Apache-2.0
#include "base/macros.h"
#include "client/job/each.h"
#include "client/job/follow.h"
#include "client/job/group/group.h"
#include "client/job/submit.h"

#include <errno.h>

static const struct arg_option options[] = {
    SAVE_OPTIONS,
};

static int watch(struct client *client, const struct args *args, uint64_t id, json_t **ret_job,
                 struct failure *failure) {
    cleanup(json_decrefp) json_t *job = NULL;
    int r = each_get(client, id, &job, failure);

    if (!r)
        r = submit_check_save(args, json_object_get(job, "params"), failure);
    if (r)
        return r;
    r = follow_to_the_end(client, &job, args_get(args, "save"), args_has(args, "force"), failure);
    *ret_job = steal_ptr(job);
    return r;
}

static int watch_group(struct client *client, const struct args *args, uint64_t id,
                       json_t **ret_group, struct failure *failure) {
    int r;

    if (args_has(args, "save"))
        return failure_set(failure, -EINVAL, "usage",
                           "use 'quantctl download ID DIR' for each of its jobs",
                           "option '--save' takes one job, and this is a group");
    r = group_get(client, id, ret_group, failure);
    return r ? r : group_follow_to_the_end(client, ret_group, failure);
}

static int run(struct client *client, const struct args *args, struct failure *failure) {
    int r = submit_check_one(args, failure);

    return r ? r : each_job(client, args, &(struct job_action){watch, watch_group}, failure);
}

const struct verb verb_watch = {
    .name = "watch",
    .usage = "ID|GROUP...",
    .summary = "follow jobs, one after the other, until they end",
    .table = {options, ARRAY_SIZE(options)},
    .least = 1,
    .most = ARGS_POSITIONAL_MAX,
    .run = run,
};
