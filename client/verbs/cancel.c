// SPDX-License-Identifier: Apache-2.0
#include "client/http/answer.h"
#include "client/job/each.h"
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

static int run(struct client *client, const struct args *args, struct failure *failure) {
    return each_job(client, args, &(struct job_action){cancel}, failure);
}

const struct verb verb_cancel = {
    .name = "cancel",
    .usage = "ID...",
    .summary = "stop jobs, or take them out of the queue",
    .least = 1,
    .most = ARGS_POSITIONAL_MAX,
    .run = run,
};
