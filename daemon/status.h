// SPDX-License-Identifier: Apache-2.0
/* The state of what the daemon uses: disks, folders, the hub. Any thread. */
#pragma once

#include "base/failure.h"

#include <jansson.h>

struct daemon;

/*
 * status_describe() - the object of GET /v1/status, see api/service.h; owned by the caller. What
 * cannot be asked is null in it. Return: 0 or -ENOMEM.
 */
int status_describe(struct daemon *daemon, json_t **ret_status, struct failure *failure);
