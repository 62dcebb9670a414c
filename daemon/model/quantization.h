// SPDX-License-Identifier: Apache-2.0
/* The GPTQ part of a model's configuration, as AutoGPTQ, GPTQModel and quantd itself write it. */
#pragma once

#include "base/json.h"
#include "daemon/model/config.h"

/*
 * quantization_config_parse() - check @value, the quantization_config of config.json or the whole
 * of quantize_config.json, which older writers leave without quant_method (@needs_method false),
 * against the geometry in @config and set @config->quantization; @path is for messages.
 * Return: 0 or -EBADMSG (code model_invalid or model_unsupported). Any thread.
 */
int quantization_config_parse(const json_t *value, const char *path, bool needs_method,
                              struct model_config *config, struct failure *failure);
