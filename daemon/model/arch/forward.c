// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/arch/forward.h"

#include <errno.h>
#include <stdlib.h>

static void work_layout(const struct model_config *c, size_t act, int T, struct arena *arena,
                        struct forward_work *w) {
    size_t d = c->hidden_size, q = model_config_q_width(c), kv = model_config_kv_width(c);
    size_t k = c->num_experts_per_tok, I = c->intermediate_size;

    arena_take(arena, &w->normed, act, T, d);
    arena_take(arena, &w->qkv, act, T, q + 2 * kv);
    arena_take(arena, &w->attention, act, T, q);
    arena_take(arena, &w->experts, sizeof(int32_t), T, k);
    arena_take(arena, &w->weights, sizeof(float), T, k);
    arena_take(arena, &w->order, sizeof(int32_t), T, k);
    arena_take(arena, &w->position, sizeof(int32_t), T, k);
    arena_take(arena, &w->slots, act, T * k, d);
    arena_take(arena, &w->gate_up, act, T * k, 2 * I);
    arena_take(arena, &w->activations, act, T * k, I);
}

size_t forward_work_size(const struct model_config *config, size_t act_size, int T) {
    struct forward_work work = {};
    struct arena arena = {};

    work_layout(config, act_size, T, &arena, &work);
    return arena_size(&arena);
}

int forward_work_init(const struct model_config *config, size_t act_size, int T, struct span memory,
                      struct forward_work *ret_work) {
    struct forward_work work = {.T = T};
    struct arena arena = {.all = memory};

    work_layout(config, act_size, T, &arena, &work);
    if (arena_size(&arena) > memory.size)
        return -ENOMEM;
    work.offsets = calloc(config->num_experts + 1, sizeof(*work.offsets));
    if (!work.offsets)
        return -ENOMEM;
    *ret_work = work;
    return 0;
}

void forward_work_done(struct forward_work *work) {
    free(work->offsets);
    *work = (struct forward_work){};
}

static struct span input_of(const struct forward_work *work, enum group group) {
    const struct span inputs[N_GROUPS] = {
        [GROUP_QKV] = work->normed,
        [GROUP_O] = work->attention,
        [GROUP_GATE_UP] = work->slots,
        [GROUP_DOWN] = work->activations,
    };

    return inputs[group];
}

/* Where the input of a group is there. */
static const enum step steps[N_GROUPS] = {
    [GROUP_QKV] = STEP_QKV,
    [GROUP_O] = STEP_O,
    [GROUP_GATE_UP] = STEP_GATE_UP,
    [GROUP_DOWN] = STEP_DOWN,
};

/* Both passes stand at the end of @step. */
static int look(const struct forward_tap *tap, const struct forward_work *work, enum step step,
                int T) {
    const int32_t all[2] = {0, T};
    enum group group = 0;
    bool experts;
    struct span x0;

    while (group < N_GROUPS && steps[group] != step)
        group++;
    if (group == N_GROUPS)
        return 0;
    experts = group == GROUP_GATE_UP || group == GROUP_DOWN;
    x0 = tap->original ? input_of(tap->original->work, group) : (struct span){};
    return tap->take(tap->ctx, group, input_of(work, group), x0, experts ? work->offsets : all);
}

/* One step of the original, whose tokens go where those of @work go. */
static int step_original(struct backend *b, const struct model_config *c,
                         const struct forward_side *original, const struct forward_work *work,
                         int n_windows, int seqlen, enum step to) {
    int r;

    original->work->routing = work;
    r = c->arch->step(b, c, original->layer, original->work, original->x, n_windows, seqlen, to);
    original->work->routing = NULL;
    return r;
}

int layer_steps(struct backend *b, const struct model_config *c, const struct layer_weights *layer,
                struct forward_work *work, struct span x, int n_windows, int seqlen, enum step from,
                const struct forward_tap *tap) {
    const struct forward_side *original = tap ? tap->original : NULL;
    int T = n_windows * seqlen, r = 0;

    /* The arrays hold work->T tokens; ops take them as large as they say, so the first T. */
    if (T < 1 || T > work->T || (original && T > original->work->T))
        return -EINVAL;
    work->gathers = tap;
    if (original)
        original->work->gathers = true;
    for (enum step to = from; to <= (tap ? steps[tap->last] : STEP_END) && !r; to++) {
        r = c->arch->step(b, c, layer, work, x, n_windows, seqlen, to);
        if (!r && original)
            r = step_original(b, c, original, work, n_windows, seqlen, to);
        if (!r && tap)
            r = look(tap, work, to, T);
    }
    return r;
}

int layer_forward(struct backend *b, const struct model_config *c,
                  const struct layer_weights *layer, struct forward_work *work, struct span x,
                  int n_windows, int seqlen, const struct forward_tap *tap) {
    return layer_steps(b, c, layer, work, x, n_windows, seqlen, STEP_QKV, tap);
}
