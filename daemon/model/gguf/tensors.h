// SPDX-License-Identifier: Apache-2.0
/* The tensors of a GGUF file as those of a checkpoint. */
#pragma once

#include "daemon/model/arch/config.h"
#include "daemon/model/gguf/file.h"
#include "daemon/model/safetensors/safetensors.h"

/*
 * gguf_tensors() - what @config has of the tensors of @file, by the names of a checkpoint: plain
 * numbers as NAME.weight, blocks as in readers/gguf.h; an expert is a slice of its tensor. What is
 * missing or has another shape is left for checkpoint_check() to find. The mapping of @file goes to
 * *ret_tensors, which the caller owns. @ret_quantized: are there blocks?
 * Return: 0; -EBADMSG (model_invalid): too many tensors; -ENOMEM. Any thread.
 */
int gguf_tensors(struct gguf_file *file, const struct model_config *config, const char *path,
                 struct safetensors **ret_tensors, bool *ret_quantized, struct failure *failure);
