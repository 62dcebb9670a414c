// SPDX-License-Identifier: Apache-2.0
/* What config.json says of a model: its architecture and geometry, and how it is quantized. */
#pragma once

#include "daemon/model/readers/reader.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

struct arch;

struct model_config {
    const struct arch *arch; /* static */
    int hidden_size;         /* d */
    int intermediate_size;   /* of one expert */
    int num_hidden_layers;   /* at most 1024 */
    int num_attention_heads; /* divides hidden_size */
    int num_key_value_heads; /* divides num_attention_heads; default the same */
    int head_dim;            /* hidden_size / num_attention_heads; even */
    int num_experts;         /* at most 4096 */
    int num_experts_per_tok; /* top_k */
    int vocab_size;
    int max_position_embeddings;
    float rms_norm_eps;       /* default 1e-5 */
    float rope_theta;         /* default 10000 */
    float clip_qkv;           /* 0: none */
    bool norm_topk_prob;      /* default false */
    bool tie_word_embeddings; /* default false */
    struct quantization_config quantization;
};

/* Elements of the widths that many places need. */
static inline int model_config_q_width(const struct model_config *c) {
    return c->num_attention_heads * c->head_dim;
}
static inline int model_config_kv_width(const struct model_config *c) {
    return c->num_key_value_heads * c->head_dim;
}

/* model_config_done() - free what it owns. */
static inline void model_config_done(struct model_config *config) {
    free(config->quantization.schemes);
    config->quantization.schemes = NULL;
}
