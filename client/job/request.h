// SPDX-License-Identifier: Apache-2.0
/* From the command line to the body of a request. One thread. */
#pragma once

#include "client/client.h"

#include <jansson.h>

/* Options that quantize and eval share, as rows of their tables. */
#define REQUEST_OPTIONS                                                                            \
    {"name", "NAME", "what lists call the job, or the group", "name", ARG_TEXT},                   \
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

/* The option of verbs that submit groups, as a row of their tables. */
#define SWEEP_OPTION                                                                               \
    { "sweep", "FILE", "submit a group of jobs: FILE, in JSON, has lists or members that differ" }

/*
 * request_group() - the same, or the body of POST /v1/groups: an option that takes a number or one
 * of several names may be given several values with commas between them, --sweep names a file with
 * more, and the words of the kind eval are models. *ret_group is owned by the caller; NULL: nothing
 * differs, and it is one job.
 */
int request_group(struct client *client, const struct args *args, const char *kind,
                  json_t **ret_request, json_t **ret_group, struct failure *failure);
