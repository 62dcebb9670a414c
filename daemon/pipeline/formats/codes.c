// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/formats/codes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void layer_codes_done(struct layer_codes *layer) {
    for (size_t i = 0; i < layer->n_matrices; i++)
        quantized_matrix_done(&layer->matrices[i].codes);
    free(layer->matrices);
    shard_done(&layer->plain);
    *layer = (struct layer_codes){};
}

int layer_codes_add(struct layer_codes *layer, struct matrix_codes *matrix) {
    if (layer->n_matrices == layer->capacity) {
        size_t capacity = MAX(2 * layer->capacity, (size_t)64);
        struct matrix_codes *grown = reallocarray(layer->matrices, capacity, sizeof(*grown));

        if (!grown) {
            quantized_matrix_done(&matrix->codes);
            return -ENOMEM;
        }
        layer->matrices = grown;
        layer->capacity = capacity;
    }
    layer->matrices[layer->n_matrices++] = *matrix;
    matrix->codes = (struct quantized_matrix){};
    return 0;
}

int layer_codes_add_plain(struct layer_codes *layer, const struct weights_source *source,
                          int number, struct failure *failure) {
    const struct arch *arch = source->checkpoint->config.arch;
    const struct tensor_finder tensors = weights_finder(source, number);

    layer->number = number;
    for (size_t i = 0; i < arch->n_tensors; i++) {
        char name[MATRIX_NAME_SIZE + 8];
        const struct tensor *t;

        if (!arch_in_layer(&arch->tensors[i]) || arch->tensors[i].role == ROLE_MATRIX)
            continue;
        arch_name(arch->tensors[i].name, number, -1, name);
        strcat(name, ".weight");
        t = tensor_find(&tensors, name);
        if (!t)
            return failure_set(failure, -EBADMSG, "model_invalid", NULL, "tensor '%s' is missing",
                               name);
        if (shard_add_copy(&layer->plain, t))
            return failure_oom(failure);
    }
    return 0;
}

static int read_matrix(const struct weights_source *source, int number,
                       const struct group_shape *shape, int g, int p, struct layer_codes *layer,
                       struct failure *failure) {
    const struct tensor_finder tensors = weights_finder(source, number);
    const struct quantization_config *q = source->quantization;
    struct matrix_codes matrix = {};
    int r;

    group_matrix_name(shape, number, g, p, matrix.name);
    r = q->reader->read(&tensors, q, matrix.name, shape->parts[p].rows, shape->n, &matrix.codes,
                        failure);
    if (r)
        return r;
    return layer_codes_add(layer, &matrix) ? failure_oom(failure) : 0;
}

int layer_codes_read(const struct weights_source *source, int number, struct layer_codes *layer,
                     struct failure *failure) {
    int r = layer_codes_add_plain(layer, source, number, failure);

    for (int i = 0; i < N_GROUPS && !r; i++) {
        struct group_shape shape;

        group_shape(&source->checkpoint->config, i, &shape);
        for (int j = 0; j < shape.G * shape.n_parts && !r; j++)
            r = read_matrix(source, number, &shape, j / shape.n_parts, j % shape.n_parts, layer,
                            failure);
    }
    return r;
}

double codes_bits_per_weight(const struct model_config *config, const struct quantization_config *q,
                             int grid_bits, int column_bits, int matrix_bits) {
    double bits = 0, weights = 0;

    for (int i = 0; i < N_GROUPS; i++) {
        struct group_shape shape;
        double n_groups;

        group_shape(config, i, &shape);
        n_groups = q->groupsize > 0 ? shape.n / q->groupsize : 1;
        weights += (double)group_size(&shape);
        bits += (double)group_size(&shape) * q->wbits;
        bits += shape.G * n_groups * shape.rows * grid_bits;
        bits += (double)shape.G * shape.n_parts * ((double)shape.n * column_bits + matrix_bits);
    }
    return bits / weights;
}
