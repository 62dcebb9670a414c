// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/grams.h"

#include <stdlib.h>
#include <string.h>

/* A stack that saw less than this share of its fair share of tokens is rounded to nearest. */
#define TOKENS_LEAST 0.005

static void layout(const struct run *run, bool drift, struct arena *arena, struct grams *grams) {
    for (int i = 0; i < N_GROUPS; i++) {
        struct group_shape shape;

        group_shape(&run->checkpoint->config, i, &shape);
        arena_take(arena, &grams->of[i].h, sizeof(float), (size_t)shape.G * shape.n, shape.n);
        if (drift)
            arena_take(arena, &grams->of[i].d, sizeof(float), (size_t)shape.G * shape.n, shape.n);
    }
}

size_t grams_size(const struct run *run, bool drift) {
    struct grams grams = {};
    struct arena arena = {};

    layout(run, drift, &arena, &grams);
    return arena_size(&arena);
}

int grams_init(struct grams *grams, const struct run *run, int windows, bool drift) {
    const struct model_config *c = &run->checkpoint->config;
    uint64_t tokens = (uint64_t)windows * run->seqlen;
    struct arena arena = {};
    int r;

    for (int i = 0; i < N_GROUPS; i++) {
        struct group_shape shape;

        group_shape(c, i, &shape);
        grams->of[i].tokens = calloc(shape.G, sizeof(uint64_t));
        if (!grams->of[i].tokens)
            return failure_oom(run->failure);
        if (shape.experts)
            grams->of[i].least_tokens =
                1 + (uint64_t)(TOKENS_LEAST * tokens * c->num_experts_per_tok / c->num_experts);
    }
    layout(run, drift, &arena, grams);
    r = arena_alloc(run->b, &arena, &grams->all);
    if (!r)
        layout(run, drift, &arena, grams);
    return r;
}

void grams_done(struct grams *grams, struct backend *b) {
    for (int i = 0; i < N_GROUPS; i++)
        free(grams->of[i].tokens);
    b->ops->free(b, &grams->all);
}

int grams_clear(struct grams *grams, const struct run *run, enum group first, enum group last) {
    struct backend *b = run->b;
    int r = 0;

    for (int i = first; i <= (int)last && !r; i++) {
        struct gram *gram = &grams->of[i];
        struct group_shape shape;

        group_shape(&run->checkpoint->config, i, &shape);
        memset(gram->tokens, 0, shape.G * sizeof(uint64_t));
        r = b->ops->zero(b, gram->h);
        if (!r && gram->d.size > 0)
            r = b->ops->zero(b, gram->d);
    }
    return r;
}

int grams_add(struct grams *grams, const struct run *run, enum group group, struct span x,
              struct span x0, const int32_t *offsets) {
    struct gram *gram = &grams->of[group];
    struct backend *b = run->b;
    struct group_shape shape;
    int r;

    group_shape(&run->checkpoint->config, group, &shape);
    for (int g = 0; g < shape.G; g++)
        gram->tokens[g] += offsets[g + 1] - offsets[g];
    r = b->ops->hessian_add(b, gram->h, x, offsets, shape.G, shape.n);
    if (!r && x0.size > 0)
        r = b->ops->cross_add(b, gram->d, x0, x, offsets, shape.G, shape.n);
    return r;
}
