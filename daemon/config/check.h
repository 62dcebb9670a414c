// SPDX-License-Identifier: Apache-2.0
/* Defaults of the options, and what a value may be. */
#pragma once

#include "daemon/config/config.h"

/*
 * config_check() - fill in defaults and check every value. @state_directory, @cache_directory: as
 * systemd gives them, or NULL.
 */
int config_check(struct config *config, const char *state_directory, const char *cache_directory,
                 struct failure *failure);
