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
 * caller_log_refusal() - tell the log that @request is refused with @status and @code. No byte
 * that a client chose gets into it but numbers and names that were checked.
 */
void caller_log_refusal(const struct request *request, unsigned status, const char *code);

/* caller_view() - a number for what @caller sees: others may see something else at the same time.
 */
uint32_t caller_view(const struct caller *caller);
