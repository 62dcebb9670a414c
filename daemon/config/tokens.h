// SPDX-License-Identifier: Apache-2.0
/* The tokens that the configuration brings. */
#pragma once

#include "daemon/config/config.h"

/*
 * config_tokens() - read the token file that @config names, or else the credential "tokens" of
 * systemd when there is one, @credentials being its folder or NULL. Return: 0 or -errno.
 */
int config_tokens(struct config *config, const char *credentials, struct failure *failure);
