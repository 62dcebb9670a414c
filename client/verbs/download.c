// SPDX-License-Identifier: Apache-2.0
#include "base/str.h"
#include "client/save/save.h"

#include <inttypes.h>

static const struct arg_option options[] = {
    {"force", NULL, "replace files in DIR, and remove other weights there"},
};

static int run(struct client *client, const struct args *args, struct failure *failure) {
    cleanup(json_decrefp) json_t *job = NULL;
    cleanup(freep) char *dir = NULL;
    char path[64];
    uint64_t id;
    int r;

    r = args_job_id(args->positional[0], &id, failure);
    if (r)
        return r;
    dir = args->n_positional > 1 ? str_format("%s", args->positional[1])
                                 : str_format("job-%" PRIu64, id);
    if (!dir)
        return failure_oom(failure);
    /* An unknown job must not leave a folder. */
    snprintf(path, sizeof(path), "/v1/jobs/%" PRIu64, id);
    r = http_get(client->http, path, &job, failure);
    if (!r)
        r = save_job(client, (int64_t)id, dir, args_has(args, "force"), failure);
    if (!r && client->json)
        r = client_print_json(job, failure);
    return r;
}

const struct verb verb_download = {
    .name = "download",
    .usage = "ID [DIR]",
    .summary = "download the files of a job, or resume a download",
    .details = "The default DIR is job-ID.\n",
    .table = {options, ARRAY_SIZE(options)},
    .least = 1,
    .most = 2,
    .run = run,
};
