// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/formats/gguf/keys.h"

#include "base/macros.h"

#include <string.h>

void gguf_keys_done(struct gguf_keys *keys) {
    strbuf_done(&keys->bytes);
}

void gguf_put(struct strbuf *to, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) {
        char byte = i < 8 ? (char)(value >> 8 * i) : 0;

        strbuf_append(to, &byte, 1);
    }
}

void gguf_put_string(struct strbuf *to, const char *text, size_t size) {
    gguf_put(to, size, 8);
    strbuf_append(to, text, size);
}

static void put_key(struct gguf_keys *keys, const char *key, enum gguf_value type) {
    gguf_put_string(&keys->bytes, key, strlen(key));
    gguf_put(&keys->bytes, type, 4);
    keys->n++;
}

void gguf_put_u32(struct gguf_keys *keys, const char *key, uint32_t value) {
    put_key(keys, key, GGUF_U32);
    gguf_put(&keys->bytes, value, 4);
}

void gguf_put_f32(struct gguf_keys *keys, const char *key, float value) {
    uint32_t bits;

    memcpy(&bits, &value, sizeof(bits));
    put_key(keys, key, GGUF_F32);
    gguf_put(&keys->bytes, bits, 4);
}

void gguf_put_bool(struct gguf_keys *keys, const char *key, bool value) {
    put_key(keys, key, GGUF_BOOL);
    gguf_put(&keys->bytes, value, 1);
}

void gguf_put_text(struct gguf_keys *keys, const char *key, const char *text) {
    put_key(keys, key, GGUF_STRING);
    gguf_put_string(&keys->bytes, text, strlen(text));
}

void gguf_put_array(struct gguf_keys *keys, const char *key, enum gguf_value type, uint64_t n) {
    put_key(keys, key, GGUF_ARRAY);
    gguf_put(&keys->bytes, type, 4);
    gguf_put(&keys->bytes, n, 8);
}

void gguf_put_model(struct gguf_keys *keys, const struct model_config *c,
                    const struct ggml_type *type) {
    const struct {
        const char *key;
        int value;
    } numbers[] = {
        {"olmoe.block_count", c->num_hidden_layers},
        {"olmoe.context_length", c->max_position_embeddings},
        {"olmoe.embedding_length", c->hidden_size},
        {"olmoe.feed_forward_length", c->intermediate_size},
        {"olmoe.attention.head_count", c->num_attention_heads},
        {"olmoe.attention.head_count_kv", c->num_key_value_heads},
        {"olmoe.expert_count", c->num_experts},
        {"olmoe.expert_used_count", c->num_experts_per_tok},
    };

    gguf_put_text(keys, "general.architecture", "olmoe");
    gguf_put_text(keys, "general.type", "model");
    gguf_put_text(keys, "general.name", "OLMoE");
    gguf_put_text(keys, "general.quantized_by", "quantd " QUANTD_VERSION);
    gguf_put_u32(keys, "general.file_type", type->file_type);
    gguf_put_u32(keys, "general.quantization_version", 2);
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
        gguf_put_u32(keys, numbers[i].key, (uint32_t)numbers[i].value);
    gguf_put_f32(keys, "olmoe.rope.freq_base", c->rope_theta);
    gguf_put_f32(keys, "olmoe.attention.layer_norm_rms_epsilon", c->rms_norm_eps);
}
