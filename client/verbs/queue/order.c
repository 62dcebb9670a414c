// SPDX-License-Identifier: Apache-2.0
/* The order of waiting jobs: hold, release, prio. */
#include "base/str.h"
#include "client/http/answer.h"
#include "client/job/each.h"
#include "client/job/group/group.h"
#include "client/job/submit.h"
#include "client/screen/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define PRIORITY_MAX 100

/* POST @body to @what of the job or group at @path/@id. */
static int order(struct client *client, const char *path, uint64_t id, const char *what,
                 const json_t *body, json_t **ret_answer, struct failure *failure) {
    char whole[64];

    snprintf(whole, sizeof(whole), "%s/%" PRIu64 "/%s", path, id, what);
    return http_call(client->http, "POST", whole, body, NULL, ret_answer, failure);
}

/* The same for a job, and how it waits now: "held", "number 2 in the queue". */
static int order_job(struct client *client, uint64_t id, const char *what, const json_t *body,
                     json_t **ret_job, struct failure *failure) {
    FILE *file = client->terminal.file;
    int64_t priority;
    int r = order(client, SUBMIT_PATH, id, what, body, ret_job, failure);

    if (r || client->json)
        return r;
    priority = answer_int(*ret_job, "priority", 0);
    if (json_is_true(json_object_get(*ret_job, "held")))
        fprintf(file, "job %" PRIu64 " is held, with priority %" PRId64 "\n", id, priority);
    else
        fprintf(file,
                "job %" PRIu64 " is number %" PRId64 " in the queue, with priority %" PRId64 "\n",
                id, answer_int(*ret_job, "queue_position", 0), priority);
    return 0;
}

/* The same for those of a group that wait; @now: what they are now. How many may change at once. */
static int order_group(struct client *client, uint64_t id, const char *what, const json_t *body,
                       const char *now, json_t **ret_group, struct failure *failure) {
    int r = order(client, GROUP_PATH, id, what, body, ret_group, failure);

    if (!r && !client->json)
        fprintf(client->terminal.file, "group %" PRIu64 ": its waiting jobs %s\n", id, now);
    return r;
}

static int hold_one(struct client *client, const struct args *args, uint64_t id, json_t **ret_job,
                    struct failure *failure) {
    (void)args;
    return order_job(client, id, "hold", NULL, ret_job, failure);
}

static int hold_group(struct client *client, const struct args *args, uint64_t id,
                      json_t **ret_group, struct failure *failure) {
    (void)args;
    return order_group(client, id, "hold", NULL, "are held", ret_group, failure);
}

static int hold(struct client *client, const struct args *args, struct failure *failure) {
    return each_job(client, args, &(struct job_action){hold_one, hold_group}, failure);
}

static int release_one(struct client *client, const struct args *args, uint64_t id,
                       json_t **ret_job, struct failure *failure) {
    (void)args;
    return order_job(client, id, "release", NULL, ret_job, failure);
}

static int release_group(struct client *client, const struct args *args, uint64_t id,
                         json_t **ret_group, struct failure *failure) {
    (void)args;
    return order_group(client, id, "release", NULL, "are released", ret_group, failure);
}

static int release(struct client *client, const struct args *args, struct failure *failure) {
    return each_job(client, args, &(struct job_action){release_one, release_group}, failure);
}

/* ---- the priority is the last word: args->positional[args->n_positional] ---- */

static int take_priority(const struct args *args, int *ret_priority, struct failure *failure) {
    const char *word = args->positional[args->n_positional];
    uint64_t size;

    if (str_parse_u64(word + (word[0] == '-'), PRIORITY_MAX, &size))
        return failure_set(failure, -EINVAL, "usage", NULL,
                           "the priority is a number from -%d to %d, not '%s'", PRIORITY_MAX,
                           PRIORITY_MAX, word);
    *ret_priority = word[0] == '-' ? -(int)size : (int)size;
    return 0;
}

static int prio_body(const struct args *args, json_t **ret_body, struct failure *failure) {
    int priority = 0, r = take_priority(args, &priority, failure);

    if (r)
        return r;
    *ret_body = json_pack("{si}", "priority", priority);
    return *ret_body ? 0 : failure_oom(failure);
}

static int prio_one(struct client *client, const struct args *args, uint64_t id, json_t **ret_job,
                    struct failure *failure) {
    cleanup(json_decrefp) json_t *body = NULL;
    int r = prio_body(args, &body, failure);

    return r ? r : order_job(client, id, "priority", body, ret_job, failure);
}

static int prio_group(struct client *client, const struct args *args, uint64_t id,
                      json_t **ret_group, struct failure *failure) {
    cleanup(json_decrefp) json_t *body = NULL;
    char now[TEXT_SIZE];
    int r = prio_body(args, &body, failure);

    if (r)
        return r;
    snprintf(now, sizeof(now), "have priority %" PRId64, answer_int(body, "priority", 0));
    return order_group(client, id, "priority", body, now, ret_group, failure);
}

static int prio(struct client *client, const struct args *args, struct failure *failure) {
    struct args ids = *args;
    int priority, r;

    ids.n_positional--;
    r = take_priority(&ids, &priority, failure);
    return r ? r : each_job(client, &ids, &(struct job_action){prio_one, prio_group}, failure);
}

const struct verb verb_hold = {
    .name = "hold",
    .usage = "ID|GROUP...",
    .summary = "keep waiting jobs from starting",
    .details = "A job that is held starts only after 'quantctl release ID'. Of a group,\n"
               "group:ID, the jobs that wait are held.\n",
    .least = 1,
    .most = ARGS_POSITIONAL_MAX,
    .run = hold,
};

const struct verb verb_release = {
    .name = "release",
    .usage = "ID|GROUP...",
    .summary = "let jobs that are held start in their turn",
    .least = 1,
    .most = ARGS_POSITIONAL_MAX,
    .run = release,
};

const struct verb verb_prio = {
    .name = "prio",
    .usage = "ID|GROUP... N",
    .summary = "change the priority of waiting jobs",
    .details = "N is from -100 to 100; higher ones start first. Above 0 it is for admins,\n"
               "unless the configuration of quantd says otherwise.\n",
    .least = 2,
    .most = ARGS_POSITIONAL_MAX,
    .run = prio,
};
