// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/arch/geometry.h"

#include <string.h>

void group_shape(const struct model_config *c, enum group group, struct group_shape *ret_shape) {
    struct group_shape shape = {.G = 1};

    for (size_t i = 0; i < c->arch->n_tensors && shape.n_parts < GROUP_PARTS_MAX; i++) {
        const struct arch_tensor *t = &c->arch->tensors[i];
        int rows = arch_dim(c, t->rows);

        if (t->role != ROLE_MATRIX || t->group != group)
            continue;
        shape.parts[shape.n_parts++] =
            (struct group_part){t, strrchr(t->name, '}') + 2, shape.rows, rows};
        shape.rows += rows;
        shape.n = arch_dim(c, t->columns);
        shape.experts = arch_per_expert(t);
    }
    if (shape.experts)
        shape.G = c->num_experts;
    *ret_shape = shape;
}

void group_matrix_name(const struct group_shape *shape, int layer, int g, int part,
                       char ret_name[MATRIX_NAME_SIZE]) {
    arch_name(shape->parts[part].tensor->name, layer, shape->first + g, ret_name);
}

struct group_shape group_cut(const struct group_shape *shape, int first, int G, int part,
                             int n_parts) {
    struct group_shape cut = *shape;

    cut.first += first;
    cut.G = G;
    cut.n_parts = n_parts;
    cut.rows = 0;
    for (int i = 0; i < n_parts; i++) {
        cut.parts[i] = shape->parts[part + i];
        cut.parts[i].row = cut.rows;
        cut.rows += cut.parts[i].rows;
    }
    return cut;
}
