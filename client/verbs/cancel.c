// SPDX-License-Identifier: Apache-2.0
#include "client/http/answer.h"
#include "client/job/each.h"
#include "client/job/group/group.h"
#include "client/screen/text.h"

#include <inttypes.h>

static int cancel(struct client *client, const struct args *args, uint64_t id, json_t **ret_job,
                  struct failure *failure) {
    cleanup(freep) char *status = NULL;
    char path[64];
    int r;

    (void)args;
    snprintf(path, sizeof(path), "/v1/jobs/%" PRIu64 "/cancel", id);
    r = http_call(client->http, "POST", path, NULL, NULL, ret_job, failure);
    if (r)
        return r;
    status = text_cleaned(answer_text(*ret_job, "status"));
    if (!client->json)
        fprintf(client->terminal.file, "job %" PRIu64 " is %s\n", id, status ? status : "");
    return EXIT_OK;
}

static int cancel_group(struct client *client, const struct args *args, uint64_t id,
                        json_t **ret_group, struct failure *failure) {
    char path[64];
    int r;

    (void)args;
    snprintf(path, sizeof(path), GROUP_PATH "/%" PRIu64 "/cancel", id);
    r = http_call(client->http, "POST", path, NULL, NULL, ret_group, failure);
    if (!r && !client->json)
        fprintf(client->terminal.file, "group %" PRIu64 " is %s\n", id,
                group_has_ended(*ret_group) ? "cancelled" : "cancelling");
    return r ? r : EXIT_OK;
}

static int run(struct client *client, const struct args *args, struct failure *failure) {
    return each_job(client, args, &(struct job_action){cancel, cancel_group}, failure);
}

const struct verb verb_cancel = {
    .name = "cancel",
    .usage = "ID|GROUP...",
    .summary = "stop jobs, or take them out of the queue",
    .least = 1,
    .most = ARGS_POSITIONAL_MAX,
    .run = run,
};
