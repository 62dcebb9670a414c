// SPDX-License-Identifier: Apache-2.0
/* The token that quantctl shows to a quantd that asks for one. One thread. */
#pragma once

#include "base/failure.h"

/*
 * token_find() - the token in the file @path, when that is not NULL; else, for TCP (@over_tcp: on
 * the unix socket the user counts), QUANTD_TOKEN, or what the file QUANTD_TOKEN_FILE holds.
 * *ret_token is owned by the caller, NULL: there is none.
 * Return: 0; -EINVAL (code usage) for what can be no token; or -errno.
 */
int token_find(const char *path, bool over_tcp, char **ret_token, struct failure *failure);
