// SPDX-License-Identifier: Apache-2.0
/* The options of a cluster. */
#pragma once

#include "daemon/config/config.h"

/* config_check_slurm() - fill in the defaults of slurm and slurm-*, and check the values. */
int config_check_slurm(struct config *config, struct failure *failure);
