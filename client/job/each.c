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

/* What a word of the command line names. */
struct target {
    uint64_t id;
    bool is_group;
};

static int read_target(const char *word, const struct job_action *action, struct target *ret_target,
                       struct failure *failure) {
    struct target target = {};
    int r = 0;

    target.is_group = action->run_group && args_group_id(word, &target.id);
    if (!target.is_group)
        r = args_job_id(word, &target.id, failure);
    *ret_target = target;
    return r;
}

static int act(struct client *client, const struct args *args, const struct target *target,
               const struct job_action *action, json_t **ret_answer, struct failure *failure) {
    return (target->is_group ? action->run_group : action->run)(client, args, target->id,
                                                                ret_answer, failure);
}

/* One of several; a refusal is printed and becomes an exit status. */
static int one_of_several(struct client *client, const struct args *args,
                          const struct target *target, const struct job_action *action,
                          json_t *answers, struct failure *failure) {
    cleanup(json_decrefp) json_t *answer = NULL;
    int r = act(client, args, target, action, &answer, failure);

    if (r == -EREMOTEIO) {
        client_print_failure(failure);
        *failure = (struct failure){};
        r = EXIT_DAEMON;
    }
    if (answer && json_array_append(answers, answer))
        return failure_oom(failure);
    return r;
}

static int several(struct client *client, const struct args *args, const struct target *targets,
                   const struct job_action *action, struct failure *failure) {
    cleanup(json_decrefp) json_t *answers = json_array();
    int worst = EXIT_OK, r = EXIT_OK;

    for (int i = 0; i < args->n_positional && worst != EXIT_DETACHED; i++) {
        r = one_of_several(client, args, &targets[i], action, answers, failure);
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
    struct target targets[ARGS_POSITIONAL_MAX];
    int r;

    for (int i = 0; i < args->n_positional; i++) {
        r = read_target(args->positional[i], action, &targets[i], failure);
        if (r)
            return r;
    }
    if (args->n_positional > 1)
        return several(client, args, targets, action, failure);
    r = act(client, args, &targets[0], action, &answer, failure);
    if (client->json && answer && client_print_json(answer, failure))
        return -EIO;
    return r;
}

int each_get(struct client *client, uint64_t id, json_t **ret_job, struct failure *failure) {
    char path[64];

    snprintf(path, sizeof(path), "/v1/jobs/%" PRIu64, id);
    return http_get(client->http, path, ret_job, failure);
}
