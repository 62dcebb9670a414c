// SPDX-License-Identifier: Apache-2.0
/* Who sent a request. On its connection's own thread. */
#pragma once

#include "api/service.h"

struct request;

/*
 * caller_find() - the holder of the token in the Authorization header; without the header the user
 * at the other end of a unix socket (root, the daemon's own user and the admins of the
 * configuration are admins, others may submit), or "local" on TCP on loopback while there is no
 * token at all.
 * Return: 0; -EACCES: a token is needed, or this is none; or -errno. With the failure.
 */
int caller_find(const struct request *request, struct caller *ret_caller, struct failure *failure);

/*
 * caller_scope() - a number for what @caller sees: others may see something else at the same time.
 */
uint32_t caller_scope(const struct caller *caller);
