// SPDX-License-Identifier: Apache-2.0
/* The state of the daemon, and of what it uses: disks, folders, the hub. Any thread. */
#pragma once

#include "api/service.h"
#include "base/failure.h"

#include <jansson.h>

struct daemon;

/*
 * status_describe() - the object of GET /v1/status, see api/service.h; owned by the caller. What
 * cannot be asked is null in it. Return: 0 or -ENOMEM.
 */
int status_describe(struct daemon *daemon, json_t **ret_status, struct failure *failure);

/* status_health(), status_ready(), status_stats() - as struct service's health, ready and stats. */
int status_health(struct daemon *daemon, json_t **ret_health, struct failure *failure);
int status_ready(struct daemon *daemon, json_t **ret_ready, struct failure *failure);
int status_stats(struct daemon *daemon, struct service_stats *ret_stats, struct failure *failure);
