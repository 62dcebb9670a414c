// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/geometry.h"

#include <stdio.h>

void group_shape(const struct model_config *c, enum group group, struct group_shape *ret_shape) {
    int d = c->hidden_size, I = c->intermediate_size, E = c->num_experts;
    int q = model_config_q_width(c), kv = model_config_kv_width(c);

    switch (group) {
    case GROUP_QKV:
        *ret_shape = (struct group_shape){.G = 1, .rows = q + 2 * kv, .n = d, .n_parts = 3};
        ret_shape->parts[0] = (struct group_part){"self_attn.q_proj", 0, q};
        ret_shape->parts[1] = (struct group_part){"self_attn.k_proj", q, kv};
        ret_shape->parts[2] = (struct group_part){"self_attn.v_proj", q + kv, kv};
        break;
    case GROUP_O:
        *ret_shape = (struct group_shape){.G = 1, .rows = d, .n = q, .n_parts = 1};
        ret_shape->parts[0] = (struct group_part){"self_attn.o_proj", 0, d};
        break;
    case GROUP_GATE_UP:
        *ret_shape = (struct group_shape){.G = E, .rows = 2 * I, .n = d, .n_parts = 2};
        ret_shape->experts = true;
        ret_shape->parts[0] = (struct group_part){"gate_proj", 0, I};
        ret_shape->parts[1] = (struct group_part){"up_proj", I, I};
        break;
    default:
        *ret_shape = (struct group_shape){.G = E, .rows = d, .n = I, .n_parts = 1};
        ret_shape->experts = true;
        ret_shape->parts[0] = (struct group_part){"down_proj", 0, d};
        break;
    }
}

void group_matrix_name(const struct group_shape *shape, int layer, int g, int part,
                       char ret_name[MATRIX_NAME_SIZE]) {
    const char *name = shape->parts[part].name;

    if (shape->experts)
        snprintf(ret_name, MATRIX_NAME_SIZE, "model.layers.%d.mlp.experts.%d.%s", layer, g, name);
    else
        snprintf(ret_name, MATRIX_NAME_SIZE, "model.layers.%d.%s", layer, name);
}
