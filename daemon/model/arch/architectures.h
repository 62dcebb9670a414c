// SPDX-License-Identifier: Apache-2.0
/* All architectures that quantd runs. */
#pragma once

#include "daemon/model/arch/arch.h"

extern const struct arch *const architectures[];
extern const int n_architectures;

/*
 * architecture_find() - the one of a config.json's model_type, or, where that is NULL, of the
 * class that it names; NULL: none. Any thread.
 */
const struct arch *architecture_find(const char *model_type, const char *class_name);
