// SPDX-License-Identifier: Apache-2.0
/*
 * Reading the options: a file, then the environment, then flags; each wins over the one before,
 * option by option. A flag --model-root is the key model-root in the section [daemon] of the file
 * and QUANTD_MODEL_ROOT in the environment. An option that may be repeated is a line each in the
 * file, and separated by commas in the environment.
 */
#pragma once

#include "daemon/config/config.h"

/*
 * config_read() - read flags @argv (argv[0] is skipped), the environment @environ of KEY=VALUE
 * ending with NULL, and the file that they name. Paths become absolute; roots and mirrors must be
 * folders. With --help or --version nothing else is checked. The caller owns *ret_config.
 * Return: 0; -EINVAL: an unknown or malformed option, named; or -errno.
 */
int config_read(int argc, char *const *argv, char *const *environment, struct config **ret_config,
                struct failure *failure);
