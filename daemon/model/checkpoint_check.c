// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/checkpoint_check.h"

#include "daemon/model/safetensors/expect.h"

#include <errno.h>
#include <stdio.h>

#define NAME_SIZE 256 /* longer than every name below */

struct check {
    const struct checked_model *model;
    struct expecting expecting;
};

static int check_vector(const struct check *check, const char *name, int n) {
    return expect_tensor(&check->expecting, name, &(struct expected){EXPECT_FLOATS, 1, {n}});
}

static int check_matrix(const struct check *check, const char *name, int out, int in) {
    return expect_tensor(&check->expecting, name, &(struct expected){EXPECT_FLOATS, 2, {out, in}});
}

/* Is there a tensor called @name with @suffix? */
static bool has(const struct check *check, const char *name, const char *suffix) {
    char full[NAME_SIZE];

    snprintf(full, sizeof(full), "%s.%s", name, suffix);
    return tensor_find(&check->model->tensors, full) != NULL;
}

/* A linear map from @in to @out features that may be quantized. */
static int check_projection(const struct check *check, const char *name, int out, int in) {
    const struct checked_model *model = check->model;
    const struct quantization_config *q = &model->config->quantization;
    char weight[NAME_SIZE];

    if (has(check, name, "bias"))
        return failure_set(check->expecting.failure, -EBADMSG, "model_unsupported",
                           "the projections of an OLMoE have no bias",
                           "model '%s': tensor '%s.bias' is not supported", model->dir, name);
    if (q->present)
        return q->reader->check(&check->expecting, q, name, out, in);
    if (!has(check, name, "weight") && has(check, name, "qweight"))
        return failure_set(check->expecting.failure, -EBADMSG, "model_invalid",
                           "add the quantize_config.json that belongs to the model",
                           "model '%s': '%s' is quantized, but config.json has no "
                           "quantization_config",
                           model->dir, name);
    snprintf(weight, sizeof(weight), "%s.weight", name);
    return check_matrix(check, weight, out, in);
}

static int check_attention(const struct check *check, int layer) {
    const struct model_config *c = check->model->config;
    int d = c->hidden_size, q_width = model_config_q_width(c), kv_width = model_config_kv_width(c);
    const struct {
        const char *name;
        int out, in;
    } projections[] = {
        {"q", q_width, d}, {"k", kv_width, d}, {"v", kv_width, d}, {"o", d, q_width}};
    char name[NAME_SIZE];
    int r = 0;

    for (size_t i = 0; i < ARRAY_SIZE(projections) && !r; i++) {
        snprintf(name, sizeof(name), "model.layers.%d.self_attn.%s_proj", layer,
                 projections[i].name);
        r = check_projection(check, name, projections[i].out, projections[i].in);
    }
    if (r)
        return r;
    snprintf(name, sizeof(name), "model.layers.%d.self_attn.q_norm.weight", layer);
    r = check_vector(check, name, q_width);
    if (r)
        return r;
    snprintf(name, sizeof(name), "model.layers.%d.self_attn.k_norm.weight", layer);
    return check_vector(check, name, kv_width);
}

static int check_expert(const struct check *check, int layer, int expert) {
    const struct model_config *c = check->model->config;
    static const char *const names[] = {"gate", "up", "down"};
    char name[NAME_SIZE];
    int r = 0;

    for (size_t i = 0; i < ARRAY_SIZE(names) && !r; i++) {
        bool is_down = i == 2;

        snprintf(name, sizeof(name), "model.layers.%d.mlp.experts.%d.%s_proj", layer, expert,
                 names[i]);
        r = check_projection(check, name, is_down ? c->hidden_size : c->intermediate_size,
                             is_down ? c->intermediate_size : c->hidden_size);
    }
    return r;
}

static int check_layer(const struct check *check, int layer) {
    const struct model_config *c = check->model->config;
    static const char *const norms[] = {"input_layernorm", "post_attention_layernorm"};
    char name[NAME_SIZE];
    int r = 0;

    for (size_t i = 0; i < ARRAY_SIZE(norms) && !r; i++) {
        snprintf(name, sizeof(name), "model.layers.%d.%s.weight", layer, norms[i]);
        r = check_vector(check, name, c->hidden_size);
    }
    if (!r)
        r = check_attention(check, layer);
    if (r)
        return r;
    snprintf(name, sizeof(name), "model.layers.%d.mlp.gate.weight", layer);
    r = check_matrix(check, name, c->num_experts, c->hidden_size);
    for (int i = 0; i < c->num_experts && !r; i++)
        r = check_expert(check, layer, i);
    return r;
}

int checkpoint_check(const struct checked_model *model, struct failure *failure) {
    const char *hint = model->config->quantization.present
                           ? "all projections of attention and experts must be quantized alike"
                           : "fetch the model again, or save it again with all its tensors";
    const struct check check = {model, {model->dir, model->listing, hint, model->tensors, failure}};
    const struct model_config *c = model->config;
    int r;

    r = check_matrix(&check, "model.embed_tokens.weight", c->vocab_size, c->hidden_size);
    for (int i = 0; i < c->num_hidden_layers && !r; i++)
        r = check_layer(&check, i);
    if (!r)
        r = check_vector(&check, "model.norm.weight", c->hidden_size);
    if (!r && (!c->tie_word_embeddings || tensor_find(&model->tensors, "lm_head.weight")))
        r = check_matrix(&check, "lm_head.weight", c->vocab_size, c->hidden_size);
    return r;
}
