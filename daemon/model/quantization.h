// SPDX-License-Identifier: Apache-2.0
/* The GPTQ part of a model's configuration, as AutoGPTQ, GPTQModel and quantd itself write it. */
#pragma once

#include "base/failure.h"
#include "base/json.h"

/* The quantization_config of a GPTQ checkpoint, ours or others'. */
struct quantization_config {
    bool present;
    int wbits;     /* bits: 2 3 4 8 */
    int groupsize; /* group_size: -1 or a positive number */
    bool sym, desc_act;
    bool v2; /* checkpoint_format gptq_v2: zeros are stored as they are, else minus one */
};

/*
 * quantization_config_parse() - read @value, the quantization_config of config.json or the whole
 * of quantize_config.json, which older writers leave without quant_method (@needs_method false).
 * Bits and groups must divide each of the @n numbers of in-features; @path is for messages.
 * Return: 0 or -EBADMSG (code model_invalid or model_unsupported). Any thread.
 */
int quantization_config_parse(const json_t *value, const char *path, bool needs_method,
                              const int *in_features, size_t n,
                              struct quantization_config *ret_config, struct failure *failure);
