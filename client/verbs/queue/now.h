// SPDX-License-Identifier: Apache-2.0
/*
 * What quantd does now: devices, running jobs, and the queue with the starts that its history
 * suggests. One thread.
 */
#pragma once

#include "client/client.h"

#include <jansson.h>

/* Zero-initialise. */
struct now {
    json_t *devices, *active, *past; /* answers: lists; owned */
};

/* now_get() - ask quantd; now_done() frees what came in each case. Return: 0 or what http.h says.
 */
int now_get(struct client *client, struct now *ret_now, struct failure *failure);
void now_done(struct now *now);

/* now_print() - the tables for people. Return: 0 or -ENOMEM. */
int now_print(const struct now *now, const struct terminal *terminal);

/* now_show() - get and print once, or as JSON. Return: an exit status or -errno. */
int now_show(struct client *client, struct failure *failure);
