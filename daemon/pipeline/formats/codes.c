// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/formats/codes.h"

#include "daemon/model/arch/scheme.h"

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

/* Part @p of stack @g as it is: a tensor, or a slice of the one that holds its whole group. */
static int add_left(struct layer_codes *layer, const struct weights_source *source,
                    enum group group, const struct group_shape *shape, int g, int p, int number,
                    struct failure *failure) {
    const struct tensor_finder tensors = weights_finder(source, number);
    const struct tensor *t = arch_fused(&source->checkpoint->config, &tensors, group, number);
    size_t first = (size_t)g * group_stack_size(shape) + (size_t)shape->parts[p].row * shape->n;
    char name[MATRIX_NAME_SIZE + 8];
    int r;

    group_matrix_name(shape, number, g, p, name);
    strcat(name, ".weight");
    if (t) {
        r = shard_add(&layer->plain, name, t->dtype, shape->parts[p].rows, shape->n,
                      (const char *)t->data + first * dtype_size(t->dtype));
        return r ? failure_oom(failure) : 0;
    }
    t = tensor_find(&tensors, name);
    if (!t)
        return failure_set(failure, -EBADMSG, "model_invalid", NULL, "tensor '%s' is missing",
                           name);
    return shard_add_copy(&layer->plain, t) ? failure_oom(failure) : 0;
}

int layer_codes_add_left(struct layer_codes *layer, const struct weights_source *source,
                         const struct quantization_config *q, int number, struct failure *failure) {
    const struct model_config *config = &source->checkpoint->config;
    int r = 0;

    for (int i = 0; q->schemes && i < N_GROUPS && !r; i++) {
        struct group_shape shape;

        group_shape(config, i, &shape);
        for (int j = 0; j < shape.G * shape.n_parts && !r; j++) {
            int g = j / shape.n_parts, p = j % shape.n_parts;

            if (scheme_of_part(config, q, number, &shape, g, p)->wbits == SCHEME_PLAIN)
                r = add_left(layer, source, i, &shape, g, p, number, failure);
        }
    }
    return r;
}

size_t layer_codes_bytes(const struct layer_codes *layer) {
    size_t bytes = layer->plain.bytes;

    for (size_t i = 0; i < layer->n_matrices; i++) {
        const struct quantized_matrix *m = &layer->matrices[i].codes;
        size_t supers = (size_t)m->rows * (m->n / GRID_SUPER) * sizeof(*m->d);

        bytes += (size_t)m->n_groups * m->rows * (sizeof(*m->scales) + sizeof(*m->zeros)) +
                 (size_t)m->n * sizeof(*m->g_idx) + (m->d ? supers : 0) + (m->dmin ? supers : 0);
    }
    return bytes;
}

const struct matrix_codes *layer_codes_find(const struct layer_codes *layer, const char *name) {
    for (size_t i = 0; i < layer->n_matrices; i++) {
        if (strcmp(layer->matrices[i].name, name) == 0)
            return &layer->matrices[i];
    }
    return NULL;
}

static int read_matrix(const struct weights_source *source, int number,
                       const struct group_shape *shape, int g, int p, struct layer_codes *layer,
                       struct failure *failure) {
    const struct tensor_finder tensors = weights_finder(source, number);
    const struct quantization_config q = quantization_as(
        source->quantization,
        scheme_of_part(&source->checkpoint->config, source->quantization, number, shape, g, p));
    struct matrix_codes matrix = {.sym = q.sym};
    int r;

    if (!q.present)
        return 0;
    group_matrix_name(shape, number, g, p, matrix.name);
    r = q.reader->read(&tensors, &q, matrix.name, shape->parts[p].rows, shape->n, &matrix.codes,
                       failure);
    if (r)
        return r;
    return layer_codes_add(layer, &matrix) ? failure_oom(failure) : 0;
}

int layer_codes_read(const struct weights_source *source, int number, struct layer_codes *layer,
                     struct failure *failure) {
    int r = layer_codes_add_plain(layer, source, number, failure);

    if (!r)
        r = layer_codes_add_left(layer, source, source->quantization, number, failure);
    for (int i = 0; i < N_GROUPS && !r; i++) {
        struct group_shape shape;

        group_shape(&source->checkpoint->config, i, &shape);
        for (int j = 0; j < shape.G * shape.n_parts && !r; j++)
            r = read_matrix(source, number, &shape, j / shape.n_parts, j % shape.n_parts, layer,
                            failure);
    }
    return r;
}

struct counting {
    const struct model_config *config;
    const struct quantization_config *q;
    struct code_bits (*bits_of)(const struct quantization_config *q);
    double bits, weights;
};

static int count_matrix(void *ctx, const struct arch_tensor *t, int layer, int expert) {
    struct counting *counting = ctx;
    const struct model_config *config = counting->config;
    const struct quantization_config q =
        quantization_as(counting->q, scheme_of(config, counting->q, t, layer, expert));
    double rows = arch_dim(config, t->rows), n = arch_dim(config, t->columns);
    struct code_bits bits;

    if (t->role != ROLE_MATRIX)
        return 0;
    counting->weights += rows * n;
    if (!q.present) {
        counting->bits += rows * n * SCHEME_PLAIN;
        return 0;
    }
    bits = counting->bits_of(&q);
    counting->bits += rows * n * q.wbits + n * bits.column + bits.matrix +
                      rows * n / GRID_SUPER * bits.super +
                      (q.groupsize > 0 ? (int)n / q.groupsize : 1) * rows * bits.grid;
    return 0;
}

double codes_bits_per_weight(const struct model_config *config, const struct quantization_config *q,
                             struct code_bits (*bits_of)(const struct quantization_config *q)) {
    struct counting counting = {config, q, bits_of, 0, 0};

    arch_walk(config, count_matrix, &counting);
    return counting.bits / counting.weights;
}
