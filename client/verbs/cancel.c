// SPDX-License-Identifier: Apache-2.0
#include "client/client.h"
#include "client/http/answer.h"
#include "client/screen/text.h"

#include <inttypes.h>

static int run(struct client *client, const struct args *args, struct failure *failure) {
    cleanup(json_decrefp) json_t *job = NULL;
    cleanup(freep) char *status = NULL;
    char path[64];
    uint64_t id;
    int r;

    r = args_job_id(args->positional[0], &id, failure);
    if (r)
        return r;
    snprintf(path, sizeof(path), "/v1/jobs/%" PRIu64 "/cancel", id);
    r = http_call(client->http, "POST", path, NULL, NULL, &job, failure);
    if (r)
        return r;
    if (client->json)
        return client_print_json(job, failure);
    status = text_cleaned(answer_text(job, "status"));
    fprintf(client->terminal.file, "job %" PRIu64 " is %s\n", id, status ? status : "");
    return EXIT_OK;
}

const struct verb verb_cancel = {
    .name = "cancel",
    .usage = "ID",
    .summary = "stop a job, or take it out of the queue",
    .least = 1,
    .most = 1,
    .run = run,
};
