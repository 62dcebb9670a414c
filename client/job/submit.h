// SPDX-License-Identifier: Apache-2.0
/* From the command line to a job in the queue. One thread. */
#pragma once

#include "client/client.h"

#include <jansson.h>

/* Where jobs are submitted. */
#define SUBMIT_PATH "/v1/jobs"

/* How an option becomes a field of the request. */
enum field_type { FIELD_INT, FIELD_REAL, FIELD_SWITCH, FIELD_TEXT, FIELD_LIST };

struct submit_field {
    const char *option, *field;
    enum field_type type;
};

/* Options that quantize and eval share. */
#define SUBMIT_OPTIONS                                                                             \
    {"name", "NAME", "what the job is called in lists"},                                           \
        {"priority", "N", "a higher one runs earlier; 0 is usual"},                                \
        {"private", NULL, "only you and admins see the job and its files"},                        \
        {"label", "KEY=VALUE", "a label; may be given several times"}, {                           \
        "detach", NULL, "print the job and leave; do not follow it"                                \
    }

/*
 * submit_request() - the body of POST /v1/jobs for @kind: only what was given, by @fields and the
 * shared options; the positional words are model and dataset. The limits are the daemon's.
 * The caller owns *ret_request. Return: 0, -EINVAL (code usage) or -ENOMEM.
 */
int submit_request(const struct args *args, const char *kind, const struct submit_field *fields,
                   size_t n_fields, json_t **ret_request, struct failure *failure);

/*
 * submit_run() - send @request to @path, NULL: an empty one, and follow the job as the options say
 * (--detach, --save, --force). Return: an exit status, or -errno.
 */
int submit_run(struct client *client, const struct args *args, const char *path,
               const json_t *request, struct failure *failure);
