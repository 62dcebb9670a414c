// SPDX-License-Identifier: Apache-2.0
#include "base/macros.h"
#include "client/job/follow.h"
#include "client/job/submit.h"

#include <inttypes.h>

static const struct arg_option options[] = {
    SAVE_OPTIONS,
};

static int run(struct client *client, const struct args *args, struct failure *failure) {
    const char *save = args_get(args, "save");
    bool force = args_has(args, "force");
    cleanup(json_decrefp) json_t *job = NULL;
    char path[64];
    uint64_t id;
    int r;

    r = args_job_id(args->positional[0], &id, failure);
    if (r)
        return r;
    snprintf(path, sizeof(path), "/v1/jobs/%" PRIu64, id);
    r = http_get(client->http, path, &job, failure);
    if (!r)
        r = submit_check_save(args, json_object_get(job, "params"), failure);
    return r ? r : follow_to_the_end(client, &job, save, force, failure);
}

const struct verb verb_watch = {
    .name = "watch",
    .usage = "ID",
    .summary = "follow a job until it ends",
    .table = {options, ARRAY_SIZE(options)},
    .least = 1,
    .most = 1,
    .run = run,
};
