// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/arch/layer.h"

#include "daemon/model/arch/scheme.h"

#include <errno.h>

static void layer_layout(const struct model_config *c, size_t act, struct arena *arena,
                         struct layer_weights *layer) {
    for (size_t i = 0; i < c->arch->n_tensors; i++) {
        const struct arch_tensor *t = &c->arch->tensors[i];

        if (arch_in_layer(t) && t->role != ROLE_MATRIX)
            arena_take(arena, &layer->plain[t->role], act, arch_dim(c, t->rows),
                       arch_dim(c, t->columns));
    }
    for (int i = 0; i < N_GROUPS; i++) {
        struct group_shape shape;

        group_shape(c, i, &shape);
        arena_take(arena, &layer->matrices[i], act, (size_t)shape.G * shape.rows, shape.n);
    }
}

size_t layer_weights_size(const struct model_config *config, size_t act_size) {
    struct layer_weights layer = {};
    struct arena arena = {};

    layer_layout(config, act_size, &arena, &layer);
    return arena_size(&arena);
}

int layer_weights_alloc(struct backend *b, const struct model_config *config,
                        struct layer_weights *ret_layer) {
    size_t act = dtype_size(b->ops->act);
    struct layer_weights layer = {};
    struct arena arena = {};
    int r;

    layer_layout(config, act, &arena, &layer);
    r = arena_alloc(b, &arena, &layer.all);
    if (r)
        return r;
    layer_layout(config, act, &arena, &layer);
    *ret_layer = layer;
    r = b->ops->zero(b, layer.all); /* the gaps too, as layer_weights_ready() looks at all */
    return r ? r : b->ops->sync(b); /* staging does not wait for queued work */
}

void layer_weights_free(struct backend *b, struct layer_weights *layer) {
    b->ops->free(b, &layer->all);
    *layer = (struct layer_weights){};
}

void code_memory_take(const struct model_config *c, const struct quantization_config *q,
                      struct arena *arena, struct code_memory *codes) {
    int groupsize = quantization_least_groupsize(q);
    size_t elements = 0, grids = 0, columns = 0, supers = 0;

    for (int i = 0; i < N_GROUPS; i++) {
        struct group_shape shape;
        size_t n_groups;

        group_shape(c, i, &shape);
        n_groups = groupsize > 0 ? MAX(shape.n / groupsize, 1) : 1;
        elements = MAX(elements, group_size(&shape));
        grids = MAX(grids, shape.G * n_groups * shape.rows);
        columns = MAX(columns, (size_t)shape.G * shape.n);
        if (quantization_has_k_grids(q))
            supers = MAX(supers, group_size(&shape) / GRID_SUPER);
    }
    arena_take(arena, &codes->codes, 1, 1, elements);
    arena_take(arena, &codes->packed, 1, 1, elements);
    arena_take(arena, &codes->scales, sizeof(uint16_t), 1, grids);
    arena_take(arena, &codes->zeros, 1, 1, grids);
    arena_take(arena, &codes->g_idx, sizeof(int32_t), 1, columns);
    arena_take(arena, &codes->d, sizeof(uint16_t), 1, supers);
    arena_take(arena, &codes->dmin, sizeof(uint16_t), 1, supers);
}

struct quantized code_memory_view(const struct code_memory *codes, const struct group_shape *shape,
                                  int n_groups) {
    size_t grids = (size_t)shape->G * n_groups * shape->rows;

    return (struct quantized){
        .codes = span_slice(codes->codes, 0, group_size(shape)),
        .scales = span_slice(codes->scales, 0, grids * sizeof(uint16_t)),
        .zeros = span_slice(codes->zeros, 0, grids),
        .g_idx = span_slice(codes->g_idx, 0, (size_t)shape->G * shape->n * sizeof(int32_t)),
    };
}

void code_memory_add_units(const struct code_memory *codes, const struct group_shape *shape,
                           bool sym, struct quantized *view) {
    size_t size = group_size(shape) / GRID_SUPER * sizeof(uint16_t);

    view->d = span_slice(codes->d, 0, size);
    view->dmin = sym ? (struct span){} : span_slice(codes->dmin, 0, size);
}
