// SPDX-License-Identifier: Apache-2.0
#include "client/job/group/group.h"

#include <inttypes.h>

static int delete_job(struct client *client, uint64_t id, struct failure *failure) {
    cleanup(json_decrefp) json_t *answer = NULL;
    char path[64];

    snprintf(path, sizeof(path), "/v1/jobs/%" PRIu64, id);
    return http_call(client->http, "DELETE", path, NULL, NULL, &answer, failure);
}

static int run(struct client *client, const struct args *args, struct failure *failure) {
    cleanup(json_decrefp) json_t *deleted = json_array();
    cleanup(json_decrefp) json_t *ids = NULL;
    json_t *id;
    size_t i;
    /* All ids are checked before the first job is deleted. */
    int r = group_ids(client, args, &ids, failure);

    if (r)
        return r;
    json_array_foreach(ids, i, id) {
        r = delete_job(client, (uint64_t)json_integer_value(id), failure);
        if (r)
            return r;
        if (json_array_append(deleted, id))
            return failure_oom(failure);
        if (!client->json)
            fprintf(client->terminal.file, "job %" JSON_INTEGER_FORMAT " is deleted\n",
                    json_integer_value(id));
    }
    return client->json ? client_print_json(deleted, failure) : EXIT_OK;
}

const struct verb verb_delete = {
    .name = "delete",
    .usage = "ID|GROUP...",
    .summary = "delete jobs that have ended, and their files",
    .details = "Stops at the first job that cannot be deleted; those before it are deleted.\n",
    .least = 1,
    .most = ARGS_POSITIONAL_MAX,
    .run = run,
};
