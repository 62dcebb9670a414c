// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/config_read.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "base/str.h"
#include "daemon/model/readers/readers.h"

#include <errno.h>

#define CONFIG_BYTES_MAX (1 << 20)
#define HINT "quantd reads OLMoE models (model_type olmoe) in the layout of transformers"

struct config_source {
    const json_t *root;
    const char *path;
    struct failure *failure;
};

/*
 * The defaults of OlmoeConfig in transformers. The limits are far above every model and keep
 * layers * experts * 3 * hidden * intermediate within 64 bits.
 */
static const struct int_key {
    const char *key;
    size_t offset;
    int min, max, fallback;
} int_keys[] = {
    {"hidden_size", offsetof(struct model_config, hidden_size), 1, 1 << 16, 2048},
    {"intermediate_size", offsetof(struct model_config, intermediate_size), 1, 1 << 18, 2048},
    {"num_hidden_layers", offsetof(struct model_config, num_hidden_layers), 1, 1024, 16},
    {"num_attention_heads", offsetof(struct model_config, num_attention_heads), 1, 4096, 16},
    {"num_experts", offsetof(struct model_config, num_experts), 1, 4096, 64},
    {"num_experts_per_tok", offsetof(struct model_config, num_experts_per_tok), 1, 4096, 8},
    {"vocab_size", offsetof(struct model_config, vocab_size), 1, 1 << 24, 50304},
    {"max_position_embeddings", offsetof(struct model_config, max_position_embeddings), 2, 1 << 24,
     4096},
};

static const struct float_key {
    const char *key;
    size_t offset;
    double min, max, fallback;
} float_keys[] = {
    {"rms_norm_eps", offsetof(struct model_config, rms_norm_eps), 1e-20, 1, 1e-5},
    {"rope_theta", offsetof(struct model_config, rope_theta), 1, 1e12, 10000},
};

static int invalid(const struct config_source *source, const char *key, const char *what) {
    return failure_set(source->failure, -EBADMSG, "model_invalid", HINT,
                       "cannot use '%s': '%s' must be %s", source->path, key, what);
}

static int unsupported(const struct config_source *source, const char *key, const char *what) {
    return failure_set(source->failure, -EBADMSG, "model_unsupported", HINT,
                       "cannot use '%s': '%s' must be %s", source->path, key, what);
}

static int read_int(const struct config_source *source, const struct int_key *key, int *ret_value) {
    const json_t *value = json_object_get(source->root, key->key);

    if (!value) {
        *ret_value = key->fallback;
        return 0;
    }
    if (!json_is_integer(value) || json_integer_value(value) < key->min ||
        json_integer_value(value) > key->max) {
        char what[64];

        snprintf(what, sizeof(what), "an integer from %d to %d", key->min, key->max);
        return invalid(source, key->key, what);
    }
    *ret_value = (int)json_integer_value(value);
    return 0;
}

static int read_float(const struct config_source *source, const struct float_key *key,
                      float *ret_value) {
    const json_t *value = json_object_get(source->root, key->key);
    double number = json_number_value(value);

    if (!value) {
        *ret_value = (float)key->fallback;
        return 0;
    }
    if (!json_is_number(value) || !(number >= key->min && number <= key->max)) {
        char what[64];

        snprintf(what, sizeof(what), "a number from %g to %g", key->min, key->max);
        return invalid(source, key->key, what);
    }
    *ret_value = (float)number;
    return 0;
}

static int read_bool(const struct config_source *source, const char *key, bool *ret_value) {
    const json_t *value = json_object_get(source->root, key);

    if (value && !json_is_boolean(value))
        return invalid(source, key, "true or false");
    *ret_value = json_is_true(value);
    return 0;
}

/* The keys that must have the one value that this implementation computes. */
static int check_architecture(const struct config_source *source) {
    const json_t *type = json_object_get(source->root, "model_type");
    const json_t *act = json_object_get(source->root, "hidden_act");
    const json_t *scaling = json_object_get(source->root, "rope_scaling");
    bool bias = false;
    int r;

    if (!str_equal(json_string_value(type), "olmoe"))
        return failure_set(source->failure, -EBADMSG, "model_unsupported", HINT,
                           "cannot use '%s': model_type is '%.64s', not 'olmoe'", source->path,
                           json_is_string(type) ? json_string_value(type) : "");
    if (act && !str_equal(json_string_value(act), "silu"))
        return unsupported(source, "hidden_act", "'silu'");
    if (scaling && !json_is_null(scaling))
        return unsupported(source, "rope_scaling", "null");
    r = read_bool(source, "attention_bias", &bias);
    if (r)
        return r;
    return bias ? unsupported(source, "attention_bias", "false") : 0;
}

/* Since version 5 transformers writes rope_theta within rope_parameters. */
static int read_rope_parameters(const struct config_source *source, float *theta) {
    const json_t *rope = json_object_get(source->root, "rope_parameters");
    const struct config_source inner = {rope, source->path, source->failure};
    const json_t *type = json_object_get(rope, "rope_type");

    if (!rope || json_is_null(rope))
        return 0;
    if (!json_is_object(rope))
        return invalid(source, "rope_parameters", "an object");
    if (type && !str_equal(json_string_value(type), "default"))
        return unsupported(source, "rope_type", "'default'");
    return json_object_get(rope, "rope_theta") ? read_float(&inner, &float_keys[1], theta) : 0;
}

/* @key is there and not null. */
static bool is_given(const struct config_source *source, const char *key) {
    const json_t *value = json_object_get(source->root, key);

    return value && !json_is_null(value);
}

static int read_numbers(const struct config_source *source, struct model_config *config) {
    static const struct float_key clip_key = {"clip_qkv", 0, 1e-6, 1e6, 0};
    int r = 0;

    for (size_t i = 0; i < ARRAY_SIZE(int_keys) && !r; i++)
        r = read_int(source, &int_keys[i], (int *)((char *)config + int_keys[i].offset));
    for (size_t i = 0; i < ARRAY_SIZE(float_keys) && !r; i++)
        r = read_float(source, &float_keys[i], (float *)((char *)config + float_keys[i].offset));
    if (!r)
        r = read_rope_parameters(source, &config->rope_theta);
    if (r)
        return r;

    config->num_key_value_heads = config->num_attention_heads;
    if (is_given(source, "num_key_value_heads")) {
        struct int_key kv_key = {"num_key_value_heads", 0, 1, config->num_attention_heads, 0};

        r = read_int(source, &kv_key, &config->num_key_value_heads);
    }
    if (!r && is_given(source, clip_key.key))
        r = read_float(source, &clip_key, &config->clip_qkv);
    return r;
}

static int check_geometry(const struct config_source *source, struct model_config *config) {
    static const struct int_key head_dim_key = {"head_dim", 0, 1, 1 << 16, 0};
    int given, r;

    if (config->hidden_size % config->num_attention_heads)
        return invalid(source, "num_attention_heads", "a divisor of hidden_size");
    if (config->num_attention_heads % config->num_key_value_heads)
        return invalid(source, "num_key_value_heads", "a divisor of num_attention_heads");
    if (config->num_experts_per_tok > config->num_experts)
        return invalid(source, "num_experts_per_tok", "at most num_experts");
    config->head_dim = config->hidden_size / config->num_attention_heads;
    if (config->head_dim % 2)
        return invalid(source, "hidden_size", "an even multiple of num_attention_heads");
    if (!is_given(source, "head_dim"))
        return 0;
    r = read_int(source, &head_dim_key, &given);
    if (r)
        return r;
    return given == config->head_dim
               ? 0
               : unsupported(source, "head_dim", "hidden_size / num_attention_heads");
}

static int parse_quantization(const json_t *value, const char *path, bool needs_method,
                              const struct config_source *source, struct model_config *config) {
    const int in_features[] = {config->hidden_size, config->intermediate_size};
    const struct quantization_source quantization = {
        value, path, needs_method, in_features, ARRAY_SIZE(in_features), source->failure};

    return quantization_config_parse(&quantization, &config->quantization);
}

static int read_quantization(const char *dir, const struct config_source *source,
                             struct model_config *config) {
    const json_t *value = json_object_get(source->root, "quantization_config");
    cleanup(json_decrefp) json_t *own = NULL;
    cleanup(freep) char *path = NULL;
    int r;

    if (value && !json_is_null(value))
        return parse_quantization(value, source->path, true, source, config);

    path = str_format("%s/quantize_config.json", dir);
    if (!path)
        return failure_oom(source->failure);
    if (access(path, F_OK) && errno == ENOENT)
        return 0;
    r = json_parse_file(path, CONFIG_BYTES_MAX, "model_invalid", &own, source->failure);
    return r ? r : parse_quantization(own, path, false, source, config);
}

static int read_config(const char *dir, const struct config_source *source,
                       struct model_config *config) {
    int r;

    if (!json_is_object(source->root))
        return invalid(source, "config.json", "an object");
    r = check_architecture(source);
    if (!r)
        r = read_numbers(source, config);
    if (!r)
        r = read_bool(source, "norm_topk_prob", &config->norm_topk_prob);
    if (!r)
        r = read_bool(source, "tie_word_embeddings", &config->tie_word_embeddings);
    if (!r)
        r = check_geometry(source, config);
    return r ? r : read_quantization(dir, source, config);
}

int model_config_read(const char *dir, struct model_config *ret_config, struct failure *failure) {
    cleanup(freep) char *path = str_format("%s/config.json", dir);
    cleanup(json_decrefp) json_t *root = NULL;
    struct model_config config = {};
    int r;

    if (!path)
        return failure_oom(failure);
    r = json_parse_file(path, CONFIG_BYTES_MAX, "model_invalid", &root, failure);
    if (r == -ENOENT)
        return failure_set(failure, r, "model_incomplete", HINT, "model '%s' has no config.json",
                           dir);
    if (r)
        return r;
    r = read_config(dir, &(struct config_source){root, path, failure}, &config);
    if (r)
        return r;
    *ret_config = config;
    return 0;
}
