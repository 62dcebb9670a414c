// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/formats/gguf/layout.h"

#include "base/macros.h"
#include "daemon/model/arch/scheme.h"
#include "daemon/model/readers/gguf_types.h"

#include <errno.h>
#include <stdlib.h>

const struct ggml_type *gguf_matrix_type(const struct quantization_config *q, int n) {
    if (!q->present)
        return &ggml_bf16;
    if (q->sub_bits)
        return n % GRID_SUPER ? NULL : ggml_k_type_for(q->wbits, q->sym, q->groupsize, q->sub_bits);
    return ggml_type_for(q->wbits, q->sym, q->groupsize > 0 ? q->groupsize : n);
}

const struct ggml_type *gguf_part_type(const struct model_config *config,
                                       const struct quantization_config *q, int layer,
                                       const struct group_shape *shape, int part) {
    const struct ggml_type *type = NULL;

    for (int g = 0; g < shape->G; g++) {
        const struct quantization_config one =
            quantization_as(q, scheme_of_part(config, q, layer, shape, g, part));
        const struct ggml_type *own = gguf_matrix_type(&one, shape->n);

        if (g > 0 && own != type)
            return NULL;
        type = own;
    }
    return type;
}

const struct ggml_type *gguf_plain_type(const struct quantization_config *q,
                                        enum tensor_role role) {
    if (role != ROLE_EMBEDDING && role != ROLE_HEAD)
        return &ggml_f32;
    return q->q8_0_ends ? ggml_type_for(8, true, GGUF_Q8_0_BLOCK) : &ggml_bf16;
}

/* Room for one more is there. */
static struct gguf_tensor *append(struct gguf_layout *layout, const struct ggml_type *type,
                                  int columns, int rows, int experts) {
    struct gguf_tensor *t = &layout->tensors[layout->n++];

    t->n_dims = experts ? 3 : rows ? 2 : 1;
    t->dims[0] = (uint64_t)columns;
    t->dims[1] = (uint64_t)rows;
    t->dims[2] = (uint64_t)experts;
    t->type = type;
    t->size = (uint64_t)ggml_row_bytes(type, columns) * MAX(rows, 1) * MAX(experts, 1);
    return t;
}

static void append_plain(struct gguf_layout *layout, const struct model_config *config,
                         const struct quantization_config *q, const struct arch_tensor *row,
                         int layer) {
    int rows = arch_dim(config, row->rows), columns = arch_dim(config, row->columns);
    bool vector = row->columns == DIM_NONE;
    struct gguf_tensor *t = append(layout, gguf_plain_type(q, row->role), vector ? rows : columns,
                                   vector ? 0 : rows, 0);

    gguf_plain_name(row->role, layer, t->name);
}

static void append_group(struct gguf_layout *layout, const struct model_config *config,
                         const struct quantization_config *q, enum group group, int layer) {
    struct group_shape shape;

    group_shape(config, group, &shape);
    for (int p = 0; p < shape.n_parts; p++) {
        struct gguf_tensor *t = append(layout, gguf_part_type(config, q, layer, &shape, p), shape.n,
                                       shape.parts[p].rows, shape.experts ? shape.G : 0);

        gguf_part_name(group, p, layer, t->name);
    }
}

/* llama.cpp wants a head; a tied one is the embedding once more. */
static void append_outer(struct gguf_layout *layout, const struct model_config *config,
                         const struct quantization_config *q) {
    const struct arch *arch = config->arch;

    for (size_t i = 0; i < arch->n_tensors; i++) {
        const struct arch_tensor *row = &arch->tensors[i];

        if (arch_in_layer(row) || arch_is_tied(config, row))
            continue;
        append_plain(layout, config, q, row, -1);
        if (row->role == ROLE_EMBEDDING && config->tie_word_embeddings) {
            layout->tensors[layout->n] = layout->tensors[layout->n - 1];
            gguf_plain_name(ROLE_HEAD, -1, layout->tensors[layout->n++].name);
        }
    }
}

int gguf_layout_init(const struct model_config *config, const struct quantization_config *q,
                     struct gguf_layout *ret_layout) {
    const struct arch *arch = config->arch;
    struct gguf_layout layout = {};

    layout.tensors = calloc((size_t)(config->num_hidden_layers + 1) *
                                (arch->n_tensors + N_GROUPS * GROUP_PARTS_MAX),
                            sizeof(*layout.tensors));
    if (!layout.tensors)
        return -ENOMEM;
    for (int layer = 0; layer < config->num_hidden_layers; layer++) {
        for (size_t i = 0; i < arch->n_tensors; i++) {
            const struct arch_tensor *row = &arch->tensors[i];

            if (arch_in_layer(row) && row->role != ROLE_MATRIX)
                append_plain(&layout, config, q, row, layer);
        }
        for (int group = 0; group < N_GROUPS; group++)
            append_group(&layout, config, q, group, layer);
    }
    append_outer(&layout, config, q);
    *ret_layout = layout;
    return 0;
}

void gguf_layout_done(struct gguf_layout *layout) {
    free(layout->tensors);
    *layout = (struct gguf_layout){};
}
