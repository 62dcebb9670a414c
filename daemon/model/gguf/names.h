// SPDX-License-Identifier: Apache-2.0
/* The names that llama.cpp gives to the tensors of OLMoE (conversion/olmo.py). Any thread. */
#pragma once

#include "daemon/model/arch/arch.h"
#include "daemon/model/gguf/spec.h"

/* gguf_plain_name() - of a tensor that is not quantized; @layer counts where it is of one. */
void gguf_plain_name(enum tensor_role role, int layer, char ret_name[GGUF_NAME_SIZE]);

/* gguf_part_name() - of part @part of @group, of all experts. */
void gguf_part_name(enum group group, int part, int layer, char ret_name[GGUF_NAME_SIZE]);
