// SPDX-License-Identifier: Apache-2.0
/* The list of tensors that an OLMoE of a geometry has, held against a checkpoint. */
#pragma once

#include "daemon/model/checkpoint.h"

/*
 * checkpoint_check() - every tensor of @checkpoint->config is there, with the right shape and
 * dtype. @listing: the file that lists the tensors, for messages.
 * Return: 0, -EBADMSG (model_invalid, model_unsupported) or -ENOENT (model_incomplete).
 */
int checkpoint_check(const struct checkpoint *checkpoint, const char *listing,
                     struct failure *failure);
