// SPDX-License-Identifier: Apache-2.0
/* Reading config.json, and quantize_config.json beside it. */
#pragma once

#include "base/json.h"
#include "daemon/model/arch/config.h"

/*
 * model_config_read() - config.json in the folder @dir, opened as by file_open_in(), checked: an
 * architecture of ours, every number in a range that keeps later products within size_t,
 * rope_scaling null, hidden_act silu, no attention bias. quantize_config.json is read when
 * config.json has no quantization_config and it exists. Missing optional keys take the defaults of
 * the class in transformers. The caller calls model_config_done(). Return: 0, -EBADMSG (code
 * model_invalid, or model_unsupported), or -errno. Any thread.
 */
int model_config_read(const char *root, const char *dir, struct model_config *ret_config,
                      struct failure *failure);

/*
 * model_config_from_json() - the same of @object, which is called @path in messages; it has no
 * quantization.
 */
int model_config_from_json(const json_t *object, const char *path, struct model_config *ret_config,
                           struct failure *failure);
