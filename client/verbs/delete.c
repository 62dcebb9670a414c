// SPDX-License-Identifier: Apache-2.0
#include "client/client.h"

#include <inttypes.h>

static int delete_job(struct client *client, uint64_t id, struct failure *failure) {
    cleanup(json_decrefp) json_t *answer = NULL;
    char path[64];

    snprintf(path, sizeof(path), "/v1/jobs/%" PRIu64, id);
    return http_call(client->http, "DELETE", path, NULL, NULL, &answer, failure);
}

static int run(struct client *client, const struct args *args, struct failure *failure) {
    cleanup(json_decrefp) json_t *deleted = json_array();
    uint64_t ids[ARGS_POSITIONAL_MAX];
    int r;

    /* All ids are checked before the first job is deleted. */
    for (int i = 0; i < args->n_positional; i++) {
        r = args_job_id(args->positional[i], &ids[i], failure);
        if (r)
            return r;
    }
    for (int i = 0; i < args->n_positional; i++) {
        r = delete_job(client, ids[i], failure);
        if (r)
            return r;
        if (json_array_append_new(deleted, json_integer((json_int_t)ids[i])))
            return failure_oom(failure);
        if (!client->json)
            fprintf(client->terminal.file, "job %" PRIu64 " is deleted\n", ids[i]);
    }
    return client->json ? client_print_json(deleted, failure) : EXIT_OK;
}

const struct verb verb_delete = {
    .name = "delete",
    .usage = "ID...",
    .summary = "delete jobs that have ended, and their files",
    .details = "Stops at the first job that cannot be deleted; those before it are deleted.\n",
    .least = 1,
    .most = ARGS_POSITIONAL_MAX,
    .run = run,
};
