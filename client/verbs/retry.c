// SPDX-License-Identifier: Apache-2.0
#include "base/macros.h"
#include "client/job/submit.h"

#include <inttypes.h>

static const struct arg_option options[] = {
    {"save", "DIR", "download the checkpoint into DIR"},
    {"force", NULL, "with --save: replace files that are in DIR"},
    {"detach", NULL, "print the new job and leave; do not follow it"},
};

static int run(struct client *client, const struct args *args, struct failure *failure) {
    char path[64];
    uint64_t id;
    int r;

    r = args_job_id(args->positional[0], &id, failure);
    if (r)
        return r;
    snprintf(path, sizeof(path), SUBMIT_PATH "/%" PRIu64 "/retry", id);
    return submit_run(client, args, path, NULL, failure);
}

const struct verb verb_retry = {
    .name = "retry",
    .usage = "ID",
    .summary = "do a job that failed or was cancelled again",
    .details = "It is a new job with the same request; the old one stays as it is.\n",
    .table = {options, ARRAY_SIZE(options)},
    .least = 1,
    .most = 1,
    .run = run,
};
