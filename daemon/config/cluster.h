// SPDX-License-Identifier: Apache-2.0
/* The options of a cluster. */
#pragma once

#include "daemon/config/config.h"

/* config_check_slurm() - fill in the defaults of slurm and slurm-*, and check the values. */
int config_check_slurm(struct config *config, struct failure *failure);

/*
 * config_copy_slurm() - a configuration of its own with what @from says of slurm and slurm-*, and
 * hang-seconds. The caller frees *ret_copy by config_free(). Any thread. Return: 0 or -ENOMEM.
 */
int config_copy_slurm(const struct config *from, struct config **ret_copy);
