// SPDX-License-Identifier: Apache-2.0
/* The order of waiting jobs: hold, release, prio. */
#include "base/str.h"
#include "client/http/answer.h"
#include "client/job/each.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define PRIORITY_MAX 100

/* POST @body to /v1/jobs/@id/@what. */
static int order(struct client *client, uint64_t id, const char *what, const json_t *body,
                 json_t **ret_job, struct failure *failure) {
    char path[64];

    snprintf(path, sizeof(path), "/v1/jobs/%" PRIu64 "/%s", id, what);
    return http_call(client->http, "POST", path, body, NULL, ret_job, failure);
}

/* How the job waits now: "held", "number 2 in the queue". */
static void print_place(const struct client *client, uint64_t id, const json_t *job) {
    int64_t position = answer_int(job, "queue_position", 0),
            priority = answer_int(job, "priority", 0);
    FILE *file = client->terminal.file;

    if (client->json)
        return;
    if (json_is_true(json_object_get(job, "held")))
        fprintf(file, "job %" PRIu64 " is held, with priority %" PRId64 "\n", id, priority);
    else
        fprintf(file,
                "job %" PRIu64 " is number %" PRId64 " in the queue, with priority %" PRId64 "\n",
                id, position, priority);
}

static int hold_one(struct client *client, const struct args *args, uint64_t id, json_t **ret_job,
                    struct failure *failure) {
    int r = order(client, id, "hold", NULL, ret_job, failure);

    (void)args;
    if (!r)
        print_place(client, id, *ret_job);
    return r;
}

static int release_one(struct client *client, const struct args *args, uint64_t id,
                       json_t **ret_job, struct failure *failure) {
    int r = order(client, id, "release", NULL, ret_job, failure);

    (void)args;
    if (!r)
        print_place(client, id, *ret_job);
    return r;
}

static int hold(struct client *client, const struct args *args, struct failure *failure) {
    return each_job(client, args, &(struct job_action){hold_one}, failure);
}

static int release(struct client *client, const struct args *args, struct failure *failure) {
    return each_job(client, args, &(struct job_action){release_one}, failure);
}

static int prio(struct client *client, const struct args *args, struct failure *failure) {
    cleanup(json_decrefp) json_t *body = NULL, *job = NULL;
    const char *word = args->positional[1];
    uint64_t id, size;
    int r;

    r = args_job_id(args->positional[0], &id, failure);
    if (r)
        return r;
    if (str_parse_u64(word + (word[0] == '-'), PRIORITY_MAX, &size))
        return failure_set(failure, -EINVAL, "usage", NULL,
                           "the priority is a number from -%d to %d, not '%s'", PRIORITY_MAX,
                           PRIORITY_MAX, word);
    body = json_pack("{si}", "priority", word[0] == '-' ? -(int)size : (int)size);
    if (!body)
        return failure_oom(failure);
    r = order(client, id, "priority", body, &job, failure);
    if (!r)
        print_place(client, id, job);
    return !r && client->json ? client_print_json(job, failure) : r;
}

const struct verb verb_hold = {
    .name = "hold",
    .usage = "ID...",
    .summary = "keep waiting jobs from starting",
    .details = "A job that is held starts only after 'quantctl release ID'.\n",
    .least = 1,
    .most = ARGS_POSITIONAL_MAX,
    .run = hold,
};

const struct verb verb_release = {
    .name = "release",
    .usage = "ID...",
    .summary = "let jobs that are held start in their turn",
    .least = 1,
    .most = ARGS_POSITIONAL_MAX,
    .run = release,
};

const struct verb verb_prio = {
    .name = "prio",
    .usage = "ID N",
    .summary = "change the priority of a waiting job",
    .details = "N is from -100 to 100; higher ones start first. Above 0 it is for admins,\n"
               "unless the configuration of quantd says otherwise.\n",
    .least = 2,
    .most = 2,
    .run = prio,
};
