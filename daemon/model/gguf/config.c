// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/gguf/config.h"

#include "base/macros.h"
#include "base/str.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define ARCHITECTURE "olmoe"
#define HINT "take a file that llama.cpp's converter or quantd made of an OLMoE model"

static const struct {
    const char *key, *name; /* in the file; in config.json */
    bool is_float, needed;
} numbers[] = {
    {ARCHITECTURE ".block_count", "num_hidden_layers", false, true},
    {ARCHITECTURE ".context_length", "max_position_embeddings", false, true},
    {ARCHITECTURE ".embedding_length", "hidden_size", false, true},
    {ARCHITECTURE ".feed_forward_length", "intermediate_size", false, true},
    {ARCHITECTURE ".attention.head_count", "num_attention_heads", false, true},
    {ARCHITECTURE ".attention.head_count_kv", "num_key_value_heads", false, false},
    {ARCHITECTURE ".attention.key_length", "head_dim", false, false},
    {ARCHITECTURE ".expert_count", "num_experts", false, true},
    {ARCHITECTURE ".expert_used_count", "num_experts_per_tok", false, true},
    {ARCHITECTURE ".rope.freq_base", "rope_theta", true, false},
    {ARCHITECTURE ".attention.layer_norm_rms_epsilon", "rms_norm_eps", true, true},
};

/* What this model's graph in llama.cpp does not read, but whoever set it meant. */
static const char *const must_be_0[] = {
    ARCHITECTURE ".attention.clamp_kqv",
    ARCHITECTURE ".expert_weights_norm",
    ARCHITECTURE ".expert_shared_count",
};

static int refuse(const char *path, const char *code, const char *key, const char *what,
                  struct failure *failure) {
    return failure_set(failure, -EBADMSG, code, HINT, "cannot use '%s': its key '%s' %s", path, key,
                       what);
}

static bool text_is(const struct gguf_text *text, const char *wanted) {
    return text->size == strlen(wanted) && !memcmp(text->text, wanted, text->size);
}

static int check_kind(const struct gguf_file *file, const char *path, struct failure *failure) {
    struct gguf_text text = {"", 0};

    if (gguf_get_text(file, "general.architecture", &text) || !text_is(&text, ARCHITECTURE))
        return refuse(path, "model_unsupported", "general.architecture",
                      "is not '" ARCHITECTURE "'", failure);
    if (gguf_get_text(file, ARCHITECTURE ".rope.scaling.type", &text) == 0 &&
        !text_is(&text, "none"))
        return refuse(path, "model_unsupported", ARCHITECTURE ".rope.scaling.type", "is not 'none'",
                      failure);
    for (size_t i = 0; i < ARRAY_SIZE(must_be_0); i++) {
        double value = 0;

        if (gguf_get_number(file, must_be_0[i], &value) == -EBADMSG || value != 0)
            return refuse(path, "model_unsupported", must_be_0[i], "is set", failure);
    }
    return 0;
}

static int add_number(const struct gguf_file *file, const char *path, size_t i, json_t *config,
                      struct failure *failure) {
    double value;
    int r = gguf_get_number(file, numbers[i].key, &value);
    json_t *number;

    if (r == -ENOENT && !numbers[i].needed)
        return 0;
    if (r == -ENOENT)
        return refuse(path, "model_invalid", numbers[i].key, "is missing", failure);
    if (r || !isfinite(value) || (!numbers[i].is_float && (value < 0 || value > UINT32_MAX)))
        return refuse(path, "model_invalid", numbers[i].key, "is not a number that it can be",
                      failure);
    number = numbers[i].is_float ? json_real(value) : json_integer((json_int_t)value);
    return json_object_set_new(config, numbers[i].name, number) ? failure_oom(failure) : 0;
}

int gguf_config(const struct gguf_file *file, const char *path, json_t **ret_config,
                struct failure *failure) {
    const struct gguf_entry *embedding = gguf_find(file, "token_embd.weight");
    bool tied = !gguf_find(file, "output.weight");
    uint64_t vocab = embedding ? embedding->dims[1] : 0;
    cleanup(json_decrefp) json_t *config =
        json_pack("{ss sI sb}", "model_type", ARCHITECTURE, "vocab_size",
                  (json_int_t)MIN(vocab, (uint64_t)INT32_MAX), "tie_word_embeddings", tied);
    int r = config ? check_kind(file, path, failure) : failure_oom(failure);

    for (size_t i = 0; i < ARRAY_SIZE(numbers) && !r; i++)
        r = add_number(file, path, i, config, failure);
    if (r)
        return r;
    *ret_config = steal_ptr(config);
    return 0;
}
