// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/arch/scheme.h"

#include "base/checked.h"
#include "base/macros.h"

#include <errno.h>
#include <stdlib.h>

/* The place of @tensor, NULL: the number, of the matrices of a layer. */
static size_t place_in_layer(const struct model_config *config, const struct arch_tensor *tensor,
                             int expert) {
    const struct arch *arch = config->arch;
    size_t n = 0;

    for (size_t i = 0; i < arch->n_tensors; i++) {
        const struct arch_tensor *t = &arch->tensors[i];

        if (t == tensor)
            return n + (expert > 0 ? (size_t)expert : 0);
        if (t->role == ROLE_MATRIX)
            n += arch_per_expert(t) ? (size_t)config->num_experts : 1;
    }
    return n;
}

size_t schemes_count(const struct model_config *config) {
    return (size_t)config->num_hidden_layers * place_in_layer(config, NULL, 0);
}

struct making {
    const struct model_config *config;
    int (*choose)(void *ctx, const struct arch_tensor *tensor, int layer, int expert,
                  struct scheme *scheme);
    void *ctx;
    struct schemes *schemes;
};

static int choose_one(void *ctx, const struct arch_tensor *t, int layer, int expert) {
    struct making *making = ctx;
    struct schemes *schemes = making->schemes;
    struct scheme scheme = schemes->list[0];
    int i = 0, r;

    if (t->role != ROLE_MATRIX)
        return 0;
    r = making->choose(making->ctx, t, layer, expert, &scheme);
    if (r)
        return r;
    while (i < schemes->n && !scheme_equal(&schemes->list[i], &scheme))
        i++;
    if (i == SCHEMES_MAX)
        return -E2BIG;
    if (i == schemes->n)
        schemes->list[schemes->n++] = scheme;
    schemes->of[(size_t)layer * place_in_layer(making->config, NULL, 0) +
                place_in_layer(making->config, t, expert)] = (uint8_t)i;
    return 0;
}

int schemes_make(const struct model_config *config, const struct scheme *base,
                 int (*choose)(void *ctx, const struct arch_tensor *tensor, int layer, int expert,
                               struct scheme *scheme),
                 void *ctx, struct schemes **ret_schemes) {
    size_t n = schemes_count(config), size;
    struct making making = {config, choose, ctx, NULL};
    int r;

    if (checked_add(sizeof(*making.schemes), n, &size))
        return -ENOMEM;
    making.schemes = calloc(1, size);
    if (!making.schemes)
        return -ENOMEM;
    making.schemes->n_matrices = n;
    making.schemes->n = 1;
    making.schemes->list[0] = *base;
    r = arch_walk(config, choose_one, &making);
    if (r || making.schemes->n == 1) {
        free(making.schemes);
        making.schemes = NULL;
    }
    if (!r)
        *ret_schemes = making.schemes;
    return r;
}

const struct scheme *scheme_of(const struct model_config *config,
                               const struct quantization_config *q,
                               const struct arch_tensor *tensor, int layer, int expert) {
    size_t i;

    if (!q->schemes)
        return NULL;
    i = (size_t)layer * place_in_layer(config, NULL, 0) + place_in_layer(config, tensor, expert);
    return &q->schemes->list[q->schemes->of[i]];
}

const struct scheme *scheme_of_part(const struct model_config *config,
                                    const struct quantization_config *q, int layer,
                                    const struct group_shape *shape, int g, int part) {
    return scheme_of(config, q, shape->parts[part].tensor, layer,
                     shape->experts ? shape->first + g : -1);
}

struct quantization_config quantization_as(const struct quantization_config *q,
                                           const struct scheme *scheme) {
    struct quantization_config one = *q;

    one.schemes = NULL;
    if (!scheme)
        return one;
    one.present = scheme->wbits != SCHEME_PLAIN;
    if (!one.present)
        return one;
    one.wbits = scheme->wbits;
    one.groupsize = scheme->groupsize;
    one.sym = scheme->sym;
    one.desc_act = scheme->desc_act;
    one.sub_bits = scheme->sub_bits;
    return one;
}

int quantization_least_groupsize(const struct quantization_config *q) {
    int least = q->groupsize;

    for (int i = 0; q->schemes && i < q->schemes->n; i++) {
        const struct scheme *s = &q->schemes->list[i];

        if (s->wbits != SCHEME_PLAIN && s->groupsize > 0)
            least = least > 0 ? MIN(least, s->groupsize) : s->groupsize;
    }
    return least;
}

int quantization_most_bits(const struct quantization_config *q) {
    int most = q->wbits;

    for (int i = 0; q->schemes && i < q->schemes->n; i++) {
        if (q->schemes->list[i].wbits != SCHEME_PLAIN)
            most = MAX(most, q->schemes->list[i].wbits);
    }
    return most;
}

bool quantization_has_k_grids(const struct quantization_config *q) {
    bool found = q->sub_bits > 0;

    for (int i = 0; q->schemes && i < q->schemes->n; i++)
        found |= q->schemes->list[i].sub_bits > 0;
    return found;
}

/* Are the matrices of @groups in @layer kept alike? */
static bool are_alike(const struct model_config *config, const struct quantization_config *q,
                      unsigned int groups, int layer) {
    struct scheme first = {};

    for (int i = 0; i < N_GROUPS; i++) {
        struct group_shape shape;

        if (!(groups >> i & 1))
            continue;
        group_shape(config, i, &shape);
        for (int j = 0; j < shape.G * shape.n_parts; j++) {
            struct scheme scheme =
                *scheme_of_part(config, q, layer, &shape, j / shape.n_parts, j % shape.n_parts);

            scheme.method = NULL;
            if (first.wbits && !scheme_equal(&first, &scheme))
                return false;
            first = scheme;
        }
    }
    return true;
}

bool schemes_split(const struct model_config *config, const struct quantization_config *q,
                   struct split *ret_split) {
    for (int layer = 0; q->schemes && layer < config->num_hidden_layers; layer++) {
        for (size_t i = 0; i < config->arch->n_merged; i++) {
            const struct arch_merged *merged = &config->arch->merged[i];

            if (are_alike(config, q, merged->groups, layer))
                continue;
            *ret_split = (struct split){layer, merged->name};
            return true;
        }
    }
    return false;
}
