// SPDX-License-Identifier: Apache-2.0
#include "base/macros.h"
#include "client/http/answer.h"
#include "client/job/each.h"
#include "client/job/follow.h"
#include "client/job/group/group.h"
#include "client/job/job.h"
#include "client/screen/text.h"

#include <errno.h>
#include <inttypes.h>

static int print_end(const struct client *client, const json_t *job, struct failure *failure) {
    cleanup(freep) char *status = text_cleaned(answer_text(job, "status"));
    cleanup(freep) char *detail =
        text_cleaned(answer_text(json_object_get(job, "error"), "detail"));

    if (!status || !detail)
        return failure_oom(failure);
    fprintf(client->terminal.file, "job %" PRId64 " %s%s%s\n", job_id(job), status,
            detail[0] ? ": " : "", detail);
    fflush(client->terminal.file);
    return 0;
}

/* A copy of @client that writes nowhere, into the file of the caller. */
static int silence(const struct client *client, FILE **nowhere, struct client *ret_quiet,
                   struct failure *failure) {
    *nowhere = fopen("/dev/null", "we");
    if (!*nowhere)
        return failure_errno(failure, -errno, "cannot open", "/dev/null");
    *ret_quiet = *client;
    ret_quiet->terminal = (struct terminal){.file = *nowhere, .width = 80, .height = 24};
    return 0;
}

static int wait_for_group(struct client *client, const struct args *args, uint64_t id,
                          json_t **ret_group, struct failure *failure) {
    cleanup(fclosep) FILE *nowhere = NULL;
    cleanup(freep) char *status = NULL;
    struct client quiet;
    int r = silence(client, &nowhere, &quiet, failure);

    (void)args;
    if (!r)
        r = group_get(client, id, ret_group, failure);
    if (!r)
        r = group_follow(&quiet, ret_group, failure);
    if (r)
        return r;
    status = text_cleaned(answer_text(*ret_group, "status"));
    if (!status)
        return failure_oom(failure);
    fprintf(client->terminal.file, "group %" PRIu64 " %s\n", id, status);
    fflush(client->terminal.file);
    return job_exit_status(*ret_group);
}

/* The job is followed, and its progress is written nowhere. */
static int wait_for(struct client *client, const struct args *args, uint64_t id, json_t **ret_job,
                    struct failure *failure) {
    cleanup(fclosep) FILE *nowhere = NULL;
    struct client quiet;
    int r = silence(client, &nowhere, &quiet, failure);

    (void)args;
    if (!r)
        r = each_get(client, id, ret_job, failure);
    if (!r)
        r = follow_job(&quiet, ret_job, failure);
    if (r)
        return r;
    r = print_end(client, *ret_job, failure);
    return r ? r : job_exit_status(*ret_job);
}

static int run(struct client *client, const struct args *args, struct failure *failure) {
    return each_job(client, args, &(struct job_action){wait_for, wait_for_group}, failure);
}

const struct verb verb_wait = {
    .name = "wait",
    .usage = "ID|GROUP...",
    .summary = "wait until jobs have ended, for scripts",
    .details = "The exit status is that of the worst job: 0 when all succeeded, 4 when one was\n"
               "cancelled, 1 when one failed, 3 when quantd did not answer for one.\n",
    .least = 1,
    .most = ARGS_POSITIONAL_MAX,
    .run = run,
};
