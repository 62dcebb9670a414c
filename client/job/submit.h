// SPDX-License-Identifier: Apache-2.0
/* Submitting a job, and what follows it. One thread. */
#pragma once

#include "client/client.h"

#include <jansson.h>

/* Where jobs are submitted. */
#define SUBMIT_PATH "/v1/jobs"

/* Options of all verbs that can save, and of those that submit, as rows of their tables. */
#define SAVE_OPTIONS                                                                               \
    {"save", "DIR", "download the checkpoint into DIR, or as one file, NAME.pt or NAME.gguf"}, {   \
        "force", NULL, "with --save: replace files in DIR, and remove other weights there"         \
    }
#define SUBMIT_OPTIONS                                                                             \
    { "detach", NULL, "print the id of the job and exit; do not follow it" }

/*
 * submit_send() - POST @request (NULL: an empty one) to @path, with a key of its own: when the
 * answer is lost, or the daemon's disk is full, it is sent again, for 10 s. The caller owns
 * *ret_answer.
 */
int submit_send(struct client *client, const char *path, const json_t *request, json_t **ret_answer,
                struct failure *failure);

/*
 * submit_check_save() - can --save do what it asks for, as far as that is known before the job has
 * run? @params are those of a request or a job. Return: 0; -EINVAL (code usage): it makes no
 * checkpoint; or what folder_check() says.
 */
int submit_check_save(const struct args *args, const json_t *params, struct failure *failure);

/* submit_check_one() - --save takes one job. Return: 0 or -EINVAL (code usage). */
int submit_check_one(const struct args *args, struct failure *failure);

/*
 * submit_detached() - send @request (NULL: an empty one) to @path, and print how to follow the job.
 * The caller owns *ret_job.
 */
int submit_detached(struct client *client, const char *path, const json_t *request,
                    json_t **ret_job, struct failure *failure);

/*
 * submit_followed() - as submit_run(), without the JSON of the job; the caller owns *ret_job, which
 * stays NULL when there is none.
 */
int submit_followed(struct client *client, const struct args *args, const char *path,
                    const json_t *request, const json_t *params, json_t **ret_job,
                    struct failure *failure);

/*
 * submit_run() - print what the job will take when it is a new one (job/estimate.h), send @request
 * (NULL: an empty one) to @path and follow the job as the options say:
 * --detach, --save, --force.
 * @params: of the job that will run, from a request or a job; --save is refused when such a job
 *          makes no checkpoint
 * Return: an exit status, or -errno.
 */
int submit_run(struct client *client, const struct args *args, const char *path,
               const json_t *request, const json_t *params, struct failure *failure);
