// SPDX-License-Identifier: Apache-2.0
/* Inside the configuration: defaults, and what a value may be. For daemon/config*.c. */
#pragma once

#include "daemon/config/config.h"

/* config_list_add() - append a copy of @value to the option @name. */
int config_list_add(struct config_list *list, const char *value, const char *name,
                    struct failure *failure);

/*
 * config_check() - fill in defaults and check every value. @state_directory, @cache_directory: as
 * systemd gives them, or NULL.
 */
int config_check(struct config *config, const char *state_directory, const char *cache_directory,
                 struct failure *failure);
