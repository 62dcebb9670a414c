// SPDX-License-Identifier: Apache-2.0
/* The options of notifications. */
#pragma once

#include "daemon/access/target.h"
#include "daemon/config/config.h"

/* config_target_policy() - where notifications may go; it borrows from @config. */
struct target_policy config_target_policy(const struct config *config);

/*
 * config_notify() - check the notify options of @config and read the key. Return: 0, -EINVAL,
 * -ENOMEM, or -errno of the key file.
 */
int config_notify(struct config *config, struct failure *failure);
