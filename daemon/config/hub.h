// SPDX-License-Identifier: Apache-2.0
/* The options of the hub: their defaults from the environment that other programs know too. */
#pragma once

#include "daemon/config/config.h"

/* config_switch() - @text of @option as yes or no. Return: 0 or -EINVAL. */
int config_switch(const char *option, const char *text, bool *ret_on, struct failure *failure);

/*
 * config_hub() - check the options of the hub in @config and fill in what is missing from
 * @environment: HF_ENDPOINT, HF_HUB_CACHE, HF_HOME, HF_HUB_OFFLINE, HF_TOKEN, HF_TOKEN_PATH, and
 * the credential hf_token in CREDENTIALS_DIRECTORY. The cache folder is known by now.
 * Return: 0, -EINVAL, -ENOMEM or -errno of a token file that was named.
 */
int config_hub(struct config *config, char *const *environment, struct failure *failure);
