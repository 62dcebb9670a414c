// SPDX-License-Identifier: Apache-2.0
#include "base/macros.h"
#include "base/str.h"
#include "client/http/answer.h"
#include "client/job/submit.h"

#include <inttypes.h>

static const struct arg_option options[] = {
    SAVE_OPTIONS,
    SUBMIT_OPTIONS,
};

static int run(struct client *client, const struct args *args, struct failure *failure) {
    cleanup(json_decrefp) json_t *job = NULL;
    char path[64];
    uint64_t id;
    int r;

    r = args_job_id(args->positional[0], &id, failure);
    if (r)
        return r;
    snprintf(path, sizeof(path), SUBMIT_PATH "/%" PRIu64, id);
    r = http_get(client->http, path, &job, failure);
    if (r)
        return r;
    snprintf(path, sizeof(path), SUBMIT_PATH "/%" PRIu64 "/retry", id);
    /* What an export job makes is in its kind, not in its parameters. */
    return submit_run(
        client, args, path, NULL,
        str_equal(answer_text(job, "kind"), "export") ? job : json_object_get(job, "params"),
        failure);
}

const struct verb verb_retry = {
    .name = "retry",
    .usage = "ID",
    .summary = "run a failed or cancelled job again",
    .details = "This submits a new job with the same request; the old job stays as it is.\n",
    .table = {options, ARRAY_SIZE(options)},
    .least = 1,
    .most = 1,
    .run = run,
};
