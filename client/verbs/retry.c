// SPDX-License-Identifier: Apache-2.0
#include "base/macros.h"
#include "base/str.h"
#include "client/http/answer.h"
#include "client/job/each.h"
#include "client/job/submit.h"

#include <inttypes.h>

static const struct arg_option options[] = {
    SAVE_OPTIONS,
    SUBMIT_OPTIONS,
};

static int retry_detached(struct client *client, const struct args *args, uint64_t id,
                          json_t **ret_job, struct failure *failure) {
    char path[64];

    (void)args;
    snprintf(path, sizeof(path), SUBMIT_PATH "/%" PRIu64 "/retry", id);
    return submit_detached(client, path, NULL, ret_job, failure);
}

static int run(struct client *client, const struct args *args, struct failure *failure) {
    cleanup(json_decrefp) json_t *job = NULL;
    char path[64];
    uint64_t id;
    int r;

    r = submit_check_one(args, failure);
    if (!r && args->n_positional > 1)
        return each_job(client, args, &(struct job_action){retry_detached}, failure);
    if (!r)
        r = args_job_id(args->positional[0], &id, failure);
    if (r)
        return r;
    r = each_get(client, id, &job, failure);
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
    .usage = "ID...",
    .summary = "run failed or cancelled jobs again",
    .details = "This submits a new job with the same request; the old job stays as it is.\n"
               "Several jobs are only submitted, as with --detach.\n",
    .table = {options, ARRAY_SIZE(options)},
    .least = 1,
    .most = ARGS_POSITIONAL_MAX,
    .run = run,
};
