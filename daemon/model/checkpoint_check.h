// SPDX-License-Identifier: Apache-2.0
/* The tensors that a model of a geometry has, held against what a folder holds. */
#pragma once

#include "base/failure.h"
#include "daemon/model/arch/config.h"
#include "daemon/model/safetensors/tensor.h"

struct checked_model {
    const char *dir, *listing; /* for messages: the folder, and the file that lists its tensors */
    const struct model_config *config;
    struct tensor_finder tensors;
};

/*
 * checkpoint_check() - every tensor of @model->config is there, with the right shape and dtype.
 * Return: 0, -EBADMSG (model_invalid, model_unsupported) or -ENOENT (model_incomplete).
 */
int checkpoint_check(const struct checked_model *model, struct failure *failure);
