// SPDX-License-Identifier: Apache-2.0
/* The forward pass of OLMoE (arXiv 2409.02060; transformers modeling_olmoe). */
#include "daemon/model/forward.h"

#include <errno.h>

static int look(const struct forward_tap *tap, enum group group, struct span x,
                const int32_t *offsets) {
    return tap ? tap->take(tap->ctx, group, x, offsets) : 0;
}

static bool ends_at(const struct forward_tap *tap, enum group group) {
    return tap && tap->last == group;
}

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
        r = b->ops->rmsnorm(b, w->qkv, width, w->qkv, width, layer->q_norm, T, q, c->rms_norm_eps);
    if (!r)
        r = b->ops->rmsnorm(b, k_part, width, k_part, width, layer->k_norm, T, kv, c->rms_norm_eps);
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

/* Sends each token of work->normed to its experts: work->slots, weights, position, offsets. */
static int send_to_experts(struct backend *b, const struct model_config *c,
                           const struct layer_weights *layer, struct forward_work *w, int T) {
    int d = c->hidden_size, E = c->num_experts, k = c->num_experts_per_tok, r;

    r = b->ops->route(b, w->experts, w->weights, w->normed, layer->router, T, d, E, k,
                      c->norm_topk_prob);
    if (!r)
        r = b->ops->dispatch(b, w->order, w->position, w->offsets, w->experts, T, E, k);
    if (!r)
        r = b->ops->gather(b, w->slots, w->normed, w->order, T * k, T, d);
    return r;
}

static int experts_forward(struct backend *b, const struct model_config *c,
                           const struct layer_weights *layer, struct forward_work *w, struct span x,
                           int T, const struct forward_tap *tap) {
    int d = c->hidden_size, E = c->num_experts, k = c->num_experts_per_tok;
    int I = c->intermediate_size, r;

    r = b->ops->rmsnorm(b, w->normed, d, x, d, layer->post_norm, T, d, c->rms_norm_eps);
    if (!r)
        r = send_to_experts(b, c, layer, w, T);
    if (!r)
        r = look(tap, GROUP_GATE_UP, w->slots, w->offsets);
    if (r || ends_at(tap, GROUP_GATE_UP))
        return r;

    r = b->ops->expert_linear(b, w->gate_up, w->slots, layer->matrices[GROUP_GATE_UP], w->offsets,
                              E, d, 2 * I);
    if (!r)
        r = b->ops->swiglu(b, w->activations, w->gate_up, T * k, I);
    if (!r)
        r = look(tap, GROUP_DOWN, w->activations, w->offsets);
    if (r || ends_at(tap, GROUP_DOWN))
        return r;

    r = b->ops->expert_linear(b, w->slots, w->activations, layer->matrices[GROUP_DOWN], w->offsets,
                              E, I, d);
    if (!r)
        r = b->ops->combine(b, x, w->slots, w->position, w->weights, T, d, k);
    return r;
}

int layer_forward(struct backend *b, const struct model_config *c,
                  const struct layer_weights *layer, struct forward_work *work, struct span x,
                  int n_windows, int seqlen, const struct forward_tap *tap) {
    int T = n_windows * seqlen, d = c->hidden_size, r;
    const int32_t all[2] = {0, T};

    /* The arrays hold work->T tokens; ops take them as large as they say, so the first T. */
    if (T < 1 || T > work->T)
        return -EINVAL;
    r = b->ops->rmsnorm(b, work->normed, d, x, d, layer->input_norm, T, d, c->rms_norm_eps);
    if (!r)
        r = look(tap, GROUP_QKV, work->normed, all);
    if (r || ends_at(tap, GROUP_QKV))
        return r;

    r = attend(b, c, layer, work, n_windows, seqlen);
    if (!r)
        r = look(tap, GROUP_O, work->attention, all);
    if (r || ends_at(tap, GROUP_O))
        return r;

    r = b->ops->linear(b, x, work->attention, layer->matrices[GROUP_O], T, model_config_q_width(c),
                       d, true);
    return r ? r : experts_forward(b, c, layer, work, x, T, tap);
}
