// SPDX-License-Identifier: Apache-2.0
/*
 * Which tensors a GGUF file of a model has, in the order of their data: layer after layer, then
 * what is outside of them. A group's experts are one tensor. Any thread.
 */
#pragma once

#include "daemon/model/arch/geometry.h"
#include "daemon/model/gguf/names.h"
#include "daemon/pipeline/formats/gguf/blocks.h"

struct gguf_tensor {
    char name[GGUF_NAME_SIZE];
    int n_dims;
    uint64_t dims[3]; /* columns first, then rows, then experts */
    const struct ggml_type *type;
    uint64_t size; /* bytes */
};

struct gguf_layout {
    struct gguf_tensor *tensors; /* owned */
    size_t n;
};

/* gguf_layout_init() - @config and @q have passed the format's check. Return: 0 or -ENOMEM. */
int gguf_layout_init(const struct model_config *config, const struct quantization_config *q,
                     struct gguf_layout *ret_layout);
void gguf_layout_done(struct gguf_layout *layout);

/* gguf_matrix_type() - in what matrices with @n columns are kept, BF16 when they are plain; NULL:
 * nothing holds them. */
const struct ggml_type *gguf_matrix_type(const struct quantization_config *q, int n);

/*
 * gguf_part_type() - in what part @part of @shape in @layer is kept, for all of its stacks, which
 * one tensor holds; NULL: they differ.
 */
const struct ggml_type *gguf_part_type(const struct model_config *config,
                                       const struct quantization_config *q, int layer,
                                       const struct group_shape *shape, int part);

/* gguf_plain_type() - of a tensor that is no matrix: F32; embedding and head BF16, or as @q says.
 */
const struct ggml_type *gguf_plain_type(const struct quantization_config *q, enum tensor_role role);
