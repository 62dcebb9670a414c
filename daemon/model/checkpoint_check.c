// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/checkpoint_check.h"

#include <errno.h>
#include <stdio.h>

#define NAME_SIZE 256 /* longer than every name below */

#define FLOATS (1u << DTYPE_F32 | 1u << DTYPE_F16 | 1u << DTYPE_BF16)
#define INT32 (1u << DTYPE_I32)

struct check {
    const struct checked_model *model;
    struct failure *failure;
};

/* What one tensor must be; a matrix has two rows of shape, a vector has one. */
struct expected {
    unsigned int dtypes; /* set of 1 << enum dtype */
    int n_dims;
    uint64_t shape[2];
};

static int missing(const struct check *check, const char *name) {
    const struct checked_model *model = check->model;

    return failure_set(check->failure, -ENOENT, "model_incomplete",
                       model->config->quantization.present
                           ? "all projections of attention and experts must be quantized alike"
                           : "fetch the model again, or save it again with all its tensors",
                       "model '%s' lacks tensor '%s': '%s' does not have it", model->dir, name,
                       model->listing);
}

static int wrong_dtype(const struct check *check, const struct tensor *tensor,
                       const struct expected *expected) {
    return failure_set(check->failure, -EBADMSG, "model_invalid",
                       "the tensors do not fit config.json: fetch both from one place",
                       "model '%s': tensor '%s' is %s, not %s", check->model->dir, tensor->name,
                       dtype_name(tensor->dtype),
                       expected->dtypes == INT32 ? "I32" : "F32, F16 or BF16");
}

static void format_shape(char *text, size_t size, int n_dims, const uint64_t *shape) {
    size_t at = 0;

    text[0] = '\0';
    for (int i = 0; i < n_dims && at < size; i++)
        at += snprintf(text + at, size - at, "%s%llu", i ? "," : "", (unsigned long long)shape[i]);
}

static int wrong_shape(const struct check *check, const struct tensor *tensor,
                       const struct expected *expected) {
    char is[TENSOR_DIMS_MAX * 22], should[2 * 22];

    format_shape(is, sizeof(is), tensor->n_dims, tensor->shape);
    format_shape(should, sizeof(should), expected->n_dims, expected->shape);
    return failure_set(check->failure, -EBADMSG, "model_invalid",
                       "the tensors do not fit config.json: fetch both from one place",
                       "model '%s': tensor '%s' has shape [%s], not [%s]", check->model->dir,
                       tensor->name, is, should);
}

static int check_tensor(const struct check *check, const char *name,
                        const struct expected *expected) {
    const struct tensor *tensor = tensor_find(&check->model->tensors, name);

    if (!tensor)
        return missing(check, name);
    if (!(expected->dtypes >> tensor->dtype & 1))
        return wrong_dtype(check, tensor, expected);
    if (tensor->n_dims != expected->n_dims)
        return wrong_shape(check, tensor, expected);
    for (int i = 0; i < expected->n_dims; i++) {
        if (tensor->shape[i] != expected->shape[i])
            return wrong_shape(check, tensor, expected);
    }
    return 0;
}

static int check_vector(const struct check *check, const char *name, int n) {
    return check_tensor(check, name, &(struct expected){FLOATS, 1, {n}});
}

static int check_matrix(const struct check *check, const char *name, int out, int in) {
    return check_tensor(check, name, &(struct expected){FLOATS, 2, {out, in}});
}

/* A projection packed by GPTQ: values along in share words, zeros along out do. */
static int check_packed(const struct check *check, const char *name, int out, int in) {
    const struct quantization_config *q = &check->model->config->quantization;
    uint64_t groups = q->groupsize < 0 ? 1 : in / q->groupsize;
    const struct {
        const char *suffix;
        struct expected expected;
    } parts[] = {
        {"qweight", {INT32, 2, {(uint64_t)in * q->wbits / 32, out}}},
        {"qzeros", {INT32, 2, {groups, ((uint64_t)out * q->wbits + 31) / 32}}},
        {"scales", {FLOATS, 2, {groups, out}}},
        {"g_idx", {INT32, 1, {in}}},
    };
    char part[NAME_SIZE];
    int r = 0;

    for (size_t i = 0; i < ARRAY_SIZE(parts) && !r; i++) {
        bool is_optional = i == 3 && !q->desc_act;

        snprintf(part, sizeof(part), "%s.%s", name, parts[i].suffix);
        if (!is_optional || tensor_find(&check->model->tensors, part))
            r = check_tensor(check, part, &parts[i].expected);
    }
    return r;
}

/* Is there a tensor called @name with @suffix? */
static bool has(const struct check *check, const char *name, const char *suffix) {
    char full[NAME_SIZE];

    snprintf(full, sizeof(full), "%s.%s", name, suffix);
    return tensor_find(&check->model->tensors, full) != NULL;
}

/* A linear map from @in to @out features that GPTQ may have quantized. */
static int check_projection(const struct check *check, const char *name, int out, int in) {
    const struct checked_model *model = check->model;
    char weight[NAME_SIZE];

    if (has(check, name, "bias"))
        return failure_set(check->failure, -EBADMSG, "model_unsupported",
                           "the projections of an OLMoE have no bias",
                           "model '%s': tensor '%s.bias' is not supported", model->dir, name);
    if (model->config->quantization.present)
        return check_packed(check, name, out, in);
    if (!has(check, name, "weight") && has(check, name, "qweight"))
        return failure_set(check->failure, -EBADMSG, "model_invalid",
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
    const struct check check = {model, failure};
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
