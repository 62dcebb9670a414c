// SPDX-License-Identifier: Apache-2.0
/*
 * A request for a group of jobs: the schema GroupRequest of api/openapi.json. Of each of its jobs
 * it makes the request that POST /v1/jobs takes. Any thread.
 */
#pragma once

#include "base/cleanup.h"
#include "base/failure.h"

#include <jansson.h>

#define GROUP_MEMBERS_MAX 64

/* Zero-initialise; all owned. */
struct group_request {
    char *name;       /* may be empty */
    json_t *varies;   /* the parameters that differ, an array of names */
    json_t *requests; /* of each member, an array */
    json_t *values;   /* of each member, an array of objects: what is its own */
    json_t *labels;   /* of each member, for messages: "member 3 of 6 (wbits 3, groupsize 64)" */
};

/*
 * group_request_parse() - the members of @body (any JSON value, borrowed): each of `members` with
 * each combination of `lists`, and with what `job` says for all. What a job may ask for is not
 * checked. *ret_request is to be freed by group_request_done() in each case.
 * Return: 0; -EINVAL with the field; -ENOMEM.
 */
int group_request_parse(const json_t *body, struct group_request *ret_request,
                        struct failure *failure);
void group_request_done(struct group_request *request);
