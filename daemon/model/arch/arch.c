// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/arch/arch.h"

#include "base/macros.h"

#include <stdio.h>
#include <string.h>

#define LAYER "{layer}"
#define EXPERT "{expert}"

int arch_dim(const struct model_config *c, enum dim dim) {
    const int dims[] = {
        [DIM_NONE] = 1,
        [DIM_VOCAB] = c->vocab_size,
        [DIM_HIDDEN] = c->hidden_size,
        [DIM_Q] = model_config_q_width(c),
        [DIM_KV] = model_config_kv_width(c),
        [DIM_INTERMEDIATE] = c->intermediate_size,
        [DIM_EXPERTS] = c->num_experts,
    };

    return dims[dim];
}

bool arch_in_layer(const struct arch_tensor *tensor) {
    return strstr(tensor->name, LAYER) != NULL;
}

bool arch_per_expert(const struct arch_tensor *tensor) {
    return strstr(tensor->name, EXPERT) != NULL;
}

bool arch_is_tied(const struct model_config *config, const struct arch_tensor *tensor) {
    return tensor->role == ROLE_HEAD && config->tie_word_embeddings;
}

void arch_name(const char *name, int layer, int expert, char ret_name[MATRIX_NAME_SIZE]) {
    size_t n = 0;

    while (*name && n + 1 < MATRIX_NAME_SIZE) {
        bool is_layer = strncmp(name, LAYER, strlen(LAYER)) == 0;
        bool is_expert = strncmp(name, EXPERT, strlen(EXPERT)) == 0;

        if (!is_layer && !is_expert) {
            ret_name[n++] = *name++;
            continue;
        }
        n += (size_t)snprintf(ret_name + n, MATRIX_NAME_SIZE - n, "%d", is_layer ? layer : expert);
        n = MIN(n, (size_t)MATRIX_NAME_SIZE - 1);
        name += strlen(is_layer ? LAYER : EXPERT);
    }
    ret_name[n] = '\0';
}

const struct tensor *arch_fused(const struct model_config *config,
                                const struct tensor_finder *tensors, enum group group, int layer) {
    const char *pattern = config->arch->fused[group];
    char name[MATRIX_NAME_SIZE];

    if (!pattern)
        return NULL;
    arch_name(pattern, layer, -1, name);
    return tensor_find(tensors, name);
}

struct walk {
    const struct model_config *config;
    int (*visit)(void *ctx, const struct arch_tensor *tensor, int layer, int expert);
    void *ctx;
};

static int visit_plain(const struct walk *walk, int layer) {
    const struct arch *arch = walk->config->arch;

    for (size_t i = 0; i < arch->n_tensors; i++) {
        const struct arch_tensor *t = &arch->tensors[i];
        int r =
            arch_in_layer(t) && t->role != ROLE_MATRIX ? walk->visit(walk->ctx, t, layer, -1) : 0;

        if (r)
            return r;
    }
    return 0;
}

/* The parts of stack @expert of @group; a group without experts has the stack -1. */
static int visit_stack(const struct walk *walk, int layer, enum group group, int expert) {
    const struct arch *arch = walk->config->arch;

    for (size_t i = 0; i < arch->n_tensors; i++) {
        const struct arch_tensor *t = &arch->tensors[i];
        bool is_part =
            t->role == ROLE_MATRIX && t->group == group && arch_per_expert(t) == (expert >= 0);
        int r = is_part ? walk->visit(walk->ctx, t, layer, expert) : 0;

        if (r)
            return r;
    }
    return 0;
}

static int visit_layer(const struct walk *walk, int layer) {
    int r = visit_plain(walk, layer);

    for (int group = 0; group < N_GROUPS && !r; group++) {
        r = visit_stack(walk, layer, group, -1);
        for (int i = 0; i < walk->config->num_experts && !r; i++)
            r = visit_stack(walk, layer, group, i);
    }
    return r;
}

int arch_walk(const struct model_config *config,
              int (*visit)(void *ctx, const struct arch_tensor *tensor, int layer, int expert),
              void *ctx) {
    const struct walk walk = {config, visit, ctx};
    const struct arch *arch = config->arch;
    bool layers_done = false;
    int r = 0;

    for (size_t i = 0; i < arch->n_tensors && !r; i++) {
        if (!arch_in_layer(&arch->tensors[i])) {
            r = visit(ctx, &arch->tensors[i], -1, -1);
            continue;
        }
        for (int layer = 0; !layers_done && layer < config->num_hidden_layers && !r; layer++)
            r = visit_layer(&walk, layer);
        layers_done = true;
    }
    return r;
}

uint64_t arch_n_parameters(const struct model_config *c) {
    uint64_t total = 0;

    for (size_t i = 0; i < c->arch->n_tensors; i++) {
        const struct arch_tensor *t = &c->arch->tensors[i];
        uint64_t n = (uint64_t)arch_dim(c, t->rows) * arch_dim(c, t->columns);

        if (arch_is_tied(c, t))
            continue;
        n *= arch_in_layer(t) ? c->num_hidden_layers : 1;
        total += n * (arch_per_expert(t) ? c->num_experts : 1);
    }
    return total;
}
