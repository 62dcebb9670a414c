// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/arch/olmoe.h"

#include "base/macros.h"
#include "daemon/model/arch/forward.h"

#include <stddef.h>

/* ---- the table ---- */

/* The limits are far above every model and keep layers * experts * 3 * hidden * intermediate
 * within 64 bits. */
static const struct arch_key ints[] = {
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

static const struct arch_key floats[] = {
    {"rms_norm_eps", offsetof(struct model_config, rms_norm_eps), 1e-20, 1, 1e-5},
    {"rope_theta", offsetof(struct model_config, rope_theta), 1, 1e12, 10000},
};

#define OF_LAYER(name) "model.layers.{layer}." name
#define OF_EXPERT(name) "model.layers.{layer}.mlp.experts.{expert}." name

static const struct arch_tensor tensors[] = {
    {"model.embed_tokens", ROLE_EMBEDDING, DIM_VOCAB, DIM_HIDDEN, 0},
    {OF_LAYER("input_layernorm"), ROLE_INPUT_NORM, DIM_HIDDEN, DIM_NONE, 0},
    {OF_LAYER("post_attention_layernorm"), ROLE_POST_NORM, DIM_HIDDEN, DIM_NONE, 0},
    {OF_LAYER("self_attn.q_norm"), ROLE_Q_NORM, DIM_Q, DIM_NONE, 0},
    {OF_LAYER("self_attn.k_norm"), ROLE_K_NORM, DIM_KV, DIM_NONE, 0},
    {OF_LAYER("mlp.gate"), ROLE_ROUTER, DIM_EXPERTS, DIM_HIDDEN, 0},
    {OF_LAYER("self_attn.q_proj"), ROLE_MATRIX, DIM_Q, DIM_HIDDEN, GROUP_QKV},
    {OF_LAYER("self_attn.k_proj"), ROLE_MATRIX, DIM_KV, DIM_HIDDEN, GROUP_QKV},
    {OF_LAYER("self_attn.v_proj"), ROLE_MATRIX, DIM_KV, DIM_HIDDEN, GROUP_QKV},
    {OF_LAYER("self_attn.o_proj"), ROLE_MATRIX, DIM_HIDDEN, DIM_Q, GROUP_O},
    {OF_EXPERT("gate_proj"), ROLE_MATRIX, DIM_INTERMEDIATE, DIM_HIDDEN, GROUP_GATE_UP},
    {OF_EXPERT("up_proj"), ROLE_MATRIX, DIM_INTERMEDIATE, DIM_HIDDEN, GROUP_GATE_UP},
    {OF_EXPERT("down_proj"), ROLE_MATRIX, DIM_HIDDEN, DIM_INTERMEDIATE, GROUP_DOWN},
    {"model.norm", ROLE_FINAL_NORM, DIM_HIDDEN, DIM_NONE, 0},
    {"lm_head", ROLE_HEAD, DIM_VOCAB, DIM_HIDDEN, 0},
};

/* ---- the forward pass ---- */

/* Attention without its output projection: work->attention. */
static int attend(struct backend *b, const struct model_config *c,
                  const struct layer_weights *layer, struct forward_work *w, int n_windows,
                  int seqlen) {
    int T = n_windows * seqlen, hd = c->head_dim;
    int q = model_config_q_width(c), kv = model_config_kv_width(c), width = q + 2 * kv;
    size_t act = dtype_size(b->ops->act);
    struct span k_part = span_slice(w->qkv, q * act, w->qkv.size - q * act);
    int r;

    r = b->ops->linear(b, w->qkv, w->normed, layer->matrices[GROUP_QKV], T, c->hidden_size, width,
                       false);
    if (!r)
        r = b->ops->rmsnorm(b, w->qkv, width, w->qkv, width, layer->plain[ROLE_Q_NORM], T, q,
                            c->rms_norm_eps);
    if (!r)
        r = b->ops->rmsnorm(b, k_part, width, k_part, width, layer->plain[ROLE_K_NORM], T, kv,
                            c->rms_norm_eps);
    if (!r && c->clip_qkv > 0)
        r = b->ops->clamp(b, w->qkv, (size_t)T * width, c->clip_qkv);
    if (!r)
        r = b->ops->rope(b, w->qkv, width, T, seqlen,
                         c->num_attention_heads + c->num_key_value_heads, hd, c->rope_theta);
    if (!r)
        r = b->ops->attention(b, w->attention, w->qkv, n_windows, seqlen, c->num_attention_heads,
                              c->num_key_value_heads, hd);
    return r;
}

/*
 * Sends each token of work->normed to its experts: work->order, weights, position, offsets, and
 * slots when a tap looks at them.
 */
static int send_to_experts(struct backend *b, const struct model_config *c,
                           const struct layer_weights *layer, struct forward_work *w, int T) {
    int d = c->hidden_size, E = c->num_experts, k = c->num_experts_per_tok, r = 0;

    if (!w->routing)
        r = b->ops->route(b, w->experts, w->weights, w->normed, layer->plain[ROLE_ROUTER], T, d, E,
                          k, c->norm_topk_prob);
    if (!r && !w->routing)
        r = b->ops->dispatch(b, w->order, w->position, w->offsets, w->experts, T, E, k);
    if (!r && w->gathers)
        r = b->ops->gather(b, w->slots, w->normed, forward_routing(w)->order, T * k, T, d);
    return r;
}

/* To what the experts read. */
static int to_experts(struct backend *b, const struct model_config *c,
                      const struct layer_weights *layer, struct forward_work *w, struct span x,
                      int T) {
    int d = c->hidden_size, r;

    r = b->ops->rmsnorm(b, w->normed, d, x, d, layer->plain[ROLE_POST_NORM], T, d, c->rms_norm_eps);
    return r ? r : send_to_experts(b, c, layer, w, T);
}

static int to_activations(struct backend *b, const struct model_config *c,
                          const struct layer_weights *layer, struct forward_work *w, int T) {
    const struct forward_work *routing = forward_routing(w);
    struct span x = w->gathers ? w->slots : w->normed;
    struct span order = w->gathers ? (struct span){} : routing->order;

    return b->ops->expert_swiglu(b, w->activations, x, order, layer->matrices[GROUP_GATE_UP],
                                 routing->offsets, c->num_experts,
                                 w->gathers ? T * c->num_experts_per_tok : T, c->hidden_size,
                                 c->intermediate_size, w->slots, w->gate_up);
}

static int to_end(struct backend *b, const struct model_config *c,
                  const struct layer_weights *layer, struct forward_work *w, struct span x, int T) {
    const struct forward_work *routing = forward_routing(w);
    int d = c->hidden_size, E = c->num_experts, k = c->num_experts_per_tok, r;

    r = b->ops->expert_linear(b, w->slots, w->activations, layer->matrices[GROUP_DOWN],
                              routing->offsets, E, c->intermediate_size, d);
    return r ? r : b->ops->combine(b, x, w->slots, routing->position, routing->weights, T, d, k);
}

static int step(struct backend *b, const struct model_config *c, const struct layer_weights *layer,
                struct forward_work *work, struct span x, int n_windows, int seqlen, enum step to) {
    int T = n_windows * seqlen, d = c->hidden_size;

    switch (to) {
    case STEP_QKV:
        return b->ops->rmsnorm(b, work->normed, d, x, d, layer->plain[ROLE_INPUT_NORM], T, d,
                               c->rms_norm_eps);
    case STEP_O:
        return attend(b, c, layer, work, n_windows, seqlen);
    case STEP_ATTENDED:
        return b->ops->linear(b, x, work->attention, layer->matrices[GROUP_O], T,
                              model_config_q_width(c), d, true);
    case STEP_GATE_UP:
        return to_experts(b, c, layer, work, x, T);
    case STEP_DOWN:
        return to_activations(b, c, layer, work, T);
    case STEP_END:
        break;
    }
    return to_end(b, c, layer, work, x, T);
}

/* In vLLM. */
static const struct arch_merged merged[] = {
    {"self_attn.qkv_proj", 1u << GROUP_QKV, false},
    {"mlp.experts", 1u << GROUP_GATE_UP | 1u << GROUP_DOWN, true},
};

const struct arch arch_olmoe = {
    .model_type = "olmoe",
    .class_name = "OlmoeForCausalLM",
    .ints = ints,
    .n_ints = ARRAY_SIZE(ints),
    .floats = floats,
    .n_floats = ARRAY_SIZE(floats),
    .tensors = tensors,
    .n_tensors = ARRAY_SIZE(tensors),
    /* since version 5 of transformers */
    .fused = {[GROUP_GATE_UP] = OF_LAYER("mlp.experts.gate_up_proj"),
              [GROUP_DOWN] = OF_LAYER("mlp.experts.down_proj")},
    .merged = merged,
    .n_merged = ARRAY_SIZE(merged),
    .step = step,
};
