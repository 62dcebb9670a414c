// SPDX-License-Identifier: Apache-2.0
/* The smallest model that quantd runs: a layer, two experts, tokens of a byte. */
#pragma once

#include "tools/random_checkpoint.h"

/* tiny_model_write() - as random_checkpoint_write(). */
static inline int tiny_model_write(const char *dir, struct failure *failure) {
    const struct random_checkpoint what = {
        .config = {.hidden_size = 32,
                   .intermediate_size = 32,
                   .num_hidden_layers = 1,
                   .num_attention_heads = 2,
                   .num_key_value_heads = 2,
                   .num_experts = 2,
                   .num_experts_per_tok = 1,
                   .vocab_size = 256,
                   .max_position_embeddings = 32,
                   .rms_norm_eps = 1e-5F,
                   .rope_theta = 10000.0F},
        .dtype = DTYPE_BF16,
        .shard_bytes = 1 << 20,
        .n_threads = 1,
    };
    struct random_checkpoint_facts facts;

    return random_checkpoint_write(&what, dir, &facts, failure);
}
