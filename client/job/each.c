// SPDX-License-Identifier: Apache-2.0
#include "client/job/each.h"

#include "base/macros.h"

#include <errno.h>
#include <inttypes.h>

/* From the best to the worst. */
static const int order[] = {EXIT_OK, EXIT_JOB_CANCELLED, EXIT_JOB_FAILED, EXIT_DAEMON,
                            EXIT_DETACHED};

static int worse_of(int a, int b) {
    size_t at_a = 0, at_b = 0;

    for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
        at_a = order[i] == a ? i : at_a;
        at_b = order[i] == b ? i : at_b;
    }
    return at_a > at_b ? a : b;
}

/* One of several jobs; a refusal is printed and becomes an exit status. */
static int one_of_several(struct client *client, const struct args *args, uint64_t id,
                          const struct job_action *action, json_t *answers,
                          struct failure *failure) {
    cleanup(json_decrefp) json_t *answer = NULL;
    int r = action->run(client, args, id, &answer, failure);

    if (r == -EREMOTEIO) {
        client_print_failure(failure);
        *failure = (struct failure){};
        r = EXIT_DAEMON;
    }
    if (answer && json_array_append(answers, answer))
        return failure_oom(failure);
    return r;
}

static int several(struct client *client, const struct args *args, const uint64_t *ids,
                   const struct job_action *action, struct failure *failure) {
    cleanup(json_decrefp) json_t *answers = json_array();
    int worst = EXIT_OK, r = EXIT_OK;

    for (int i = 0; i < args->n_positional && worst != EXIT_DETACHED; i++) {
        r = one_of_several(client, args, ids[i], action, answers, failure);
        if (r < 0)
            break;
        worst = worse_of(worst, r);
    }
    if (client->json && client_print_json(answers, r < 0 ? NULL : failure) && r >= 0)
        return -EIO;
    return r < 0 ? r : worst;
}

int each_job(struct client *client, const struct args *args, const struct job_action *action,
             struct failure *failure) {
    cleanup(json_decrefp) json_t *answer = NULL;
    uint64_t ids[ARGS_POSITIONAL_MAX];
    int r;

    for (int i = 0; i < args->n_positional; i++) {
        r = args_job_id(args->positional[i], &ids[i], failure);
        if (r)
            return r;
    }
    if (args->n_positional > 1)
        return several(client, args, ids, action, failure);
    r = action->run(client, args, ids[0], &answer, failure);
    if (client->json && answer && client_print_json(answer, failure))
        return -EIO;
    return r;
}

int each_get(struct client *client, uint64_t id, json_t **ret_job, struct failure *failure) {
    char path[64];

    snprintf(path, sizeof(path), "/v1/jobs/%" PRIu64, id);
    return http_get(client->http, path, ret_job, failure);
}
