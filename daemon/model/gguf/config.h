// SPDX-License-Identifier: Apache-2.0
/* What the keys of a GGUF file say of its model. */
#pragma once

#include "base/json.h"
#include "daemon/model/gguf/file.h"

/*
 * gguf_config() - the keys of @file, called @path in messages, as a config.json of transformers
 * would say them; the caller owns *ret_config. What llama.cpp would compute and quantd would not
 * is refused. Return: 0; -EBADMSG (model_invalid, model_unsupported); -ENOMEM. Any thread.
 */
int gguf_config(const struct gguf_file *file, const char *path, json_t **ret_config,
                struct failure *failure);
