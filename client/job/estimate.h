// SPDX-License-Identifier: Apache-2.0
/* What a job would take, as quantd estimates it. One thread. */
#pragma once

#include "client/client.h"

#include <jansson.h>

/* The option of verbs that can estimate, as a row of their tables. */
#define ESTIMATE_OPTION                                                                            \
    { "estimate", NULL, "show memory, size, disk and time that the job would take; run nothing" }

/*
 * estimate_show() - print what the job of @request would take. Return: an exit status, or what
 * http.h says.
 */
int estimate_show(struct client *client, const json_t *request, struct failure *failure);

/*
 * estimate_announce() - print the same in a line, before the job is submitted; nothing with --json,
 * and nothing when quantd does not say.
 */
void estimate_announce(struct client *client, const json_t *request);
