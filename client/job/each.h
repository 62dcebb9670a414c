// SPDX-License-Identifier: Apache-2.0
/* Verbs that take several jobs, or groups of them. One thread. */
#pragma once

#include "client/client.h"

#include <jansson.h>

/*
 * What a verb does with one job. *ret_answer: what --json prints of it, owned by the caller; may
 * stay NULL. Return: an exit status, or -errno with the failure.
 */
struct job_action {
    int (*run)(struct client *client, const struct args *args, uint64_t id, json_t **ret_answer,
               struct failure *failure);
    /* The same with the group "group:ID"; NULL: the verb takes none. */
    int (*run_group)(struct client *client, const struct args *args, uint64_t id,
                     json_t **ret_answer, struct failure *failure);
};

/*
 * each_job() - run @action for each id of the command line; all ids are checked before. What quantd
 * refuses for one job is printed to stderr, and the next one follows; every other failure, and
 * EXIT_DETACHED, end the loop. With --json, print the answer of a single job, of several an array.
 *
 * Return: the worst exit status (a refusal, then a failed job, then a cancelled one), or -errno.
 */
int each_job(struct client *client, const struct args *args, const struct job_action *action,
             struct failure *failure);

/* each_get() - GET job @id. Return: 0 or what http.h says. */
int each_get(struct client *client, uint64_t id, json_t **ret_job, struct failure *failure);
