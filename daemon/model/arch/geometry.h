// SPDX-License-Identifier: Apache-2.0
/*
 * The groups of matrices of a layer that are quantized, as arrays: a group is G stacks of the same
 * shape, a stack is the parts (the checkpoint's matrices) that read the same rows, one above the
 * other. So one Hessian serves a stack, and all stacks of a group are computed as one batch.
 */
#pragma once

#include "daemon/model/arch/arch.h"

#include <stdbool.h>
#include <stddef.h>

#define GROUP_PARTS_MAX 3

struct group_part {
    const struct arch_tensor *tensor;
    const char *name; /* "self_attn.q_proj", or "gate_proj" of an expert */
    int row, rows;    /* its rows in the stack */
};

struct group_shape {
    int G, rows, n; /* stacks, rows of a stack, columns (in-features) */
    int first;      /* the number of its first stack */
    struct group_part parts[GROUP_PARTS_MAX];
    int n_parts;
    bool experts; /* a stack is an expert's */
};

/* group_shape() - the shape of @group for this geometry. */
void group_shape(const struct model_config *config, enum group group,
                 struct group_shape *ret_shape);

/*
 * group_matrix_name() - the checkpoint's name of part @part of stack @g in @layer, without
 * ".weight": "model.layers.3.mlp.experts.7.down_proj".
 */
void group_matrix_name(const struct group_shape *shape, int layer, int g, int part,
                       char ret_name[MATRIX_NAME_SIZE]);

/*
 * group_cut() - the parts from @part on, @n_parts of them, of @G stacks of @shape from @first on.
 * They are neighbours in memory when G is 1 or all parts are taken.
 */
struct group_shape group_cut(const struct group_shape *shape, int first, int G, int part,
                             int n_parts);

/* Elements of one stack. */
static inline size_t group_stack_size(const struct group_shape *shape) {
    return (size_t)shape->rows * shape->n;
}

/* Elements of the whole group. */
static inline size_t group_size(const struct group_shape *shape) {
    return shape->G * group_stack_size(shape);
}
