// SPDX-License-Identifier: Apache-2.0
/* The token that quantctl sends to quantd. One thread. */
#pragma once

#include "base/failure.h"

/*
 * token_find() - the token in the file @path when that is not NULL. Else, only for TCP (on the unix
 * socket the daemon knows the user), the value of QUANTD_TOKEN or the token in the file that
 * QUANTD_TOKEN_FILE names. *ret_token is owned by the caller; NULL: there is none.
 * Return: 0; -EINVAL (code usage) when it is not a token; or -errno.
 */
int token_find(const char *path, bool over_tcp, char **ret_token, struct failure *failure);
