// SPDX-License-Identifier: Apache-2.0
/* From the command line to the body of a request. One thread. */
#pragma once

#include "client/client.h"

#include <jansson.h>

/* Options that quantize and eval share, as rows of their tables. */
#define REQUEST_OPTIONS                                                                            \
    {"name", "NAME", "what lists call the job", "name", ARG_TEXT},                                 \
        {"priority", "N", "jobs of a higher priority run first; 0 by default", "priority",         \
         ARG_INT},                                                                                 \
        {"where", "PLACE", "local or slurm: run it only there; any by default", "where",           \
         ARG_TEXT},                                                                                \
        {"private", NULL, "only you and admins see the job and its files", "private", ARG_TEXT},   \
        {"label", "KEY=VALUE", "a label; may be given several times", "labels", ARG_LABEL}, {      \
        "notify", "URL", "notify this URL of the end of the job, if quantd allows its host",       \
            "notify", ARG_TEXT                                                                     \
    }

/*
 * request_new() - the body of POST /v1/jobs for a job of @kind: what was given, no defaults. The
 * positional words are model and dataset, an option sets the field that its table says. Without a
 * format it is that of the file that --save names, if it names one. Limits are left to the daemon.
 * The caller owns *ret_request. Return: 0; -EINVAL (code usage); -ENOENT: a path from here that is
 * not there; or -ENOMEM.
 */
int request_new(struct client *client, const struct args *args, const char *kind,
                json_t **ret_request, struct failure *failure);
