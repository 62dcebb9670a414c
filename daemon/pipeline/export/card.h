// SPDX-License-Identifier: Apache-2.0
/* The model card of a checkpoint: README.md as model hubs show it. */
#pragma once

#include "base/failure.h"
#include "daemon/pipeline/export/license.h"
#include "daemon/pipeline/params/params.h"

#include <jansson.h>

/*
 * card_new() - README.md of the checkpoint that @quantd describes (the content of its quantd.json)
 * and that @params ask for, quantized as @q with its schemes, under the original's @license. It has
 * no time and no path. The caller owns *ret_text. Any thread. Return: 0; or -ENOMEM.
 */
int card_new(const json_t *quantd, const struct params *params, const struct quantization_config *q,
             const struct model_config *config, const struct license *license, char **ret_text,
             struct failure *failure);
