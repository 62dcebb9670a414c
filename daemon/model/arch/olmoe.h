// SPDX-License-Identifier: Apache-2.0
/* OLMoE (arXiv 2409.02060; transformers modeling_olmoe). */
#pragma once

#include "daemon/model/arch/arch.h"

extern const struct arch arch_olmoe;
