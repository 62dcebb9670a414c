// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/keep.h"

#include "daemon/model/arch/scheme.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 256 /* of each array on the device */

void kept_layer_done(struct kept_layer *layer) {
    layer_codes_done(&layer->codes);
    free(layer->groups);
    *layer = (struct kept_layer){};
}

size_t keeper_size(const struct run *run) {
    /* A plan of bits may ask for any. */
    int most = run->params->target_bits > 0 ? 8 : quantization_most_bits(&run->quantization);
    int groupsize = quantization_least_groupsize(&run->quantization);
    size_t size = 0;

    for (int i = 0; i < N_GROUPS; i++) {
        struct group_shape shape;
        size_t grids;

        group_shape(&run->checkpoint->config, i, &shape);
        grids = (size_t)shape.G * shape.rows * (groupsize > 0 ? MAX(shape.n / groupsize, 1) : 1);
        size += group_size(&shape) * most / 8 + grids * (sizeof(uint16_t) + sizeof(uint8_t));
        /* Parts may be solved each by itself. */
        size += (size_t)shape.G * shape.n_parts * (shape.n * sizeof(int32_t) + 6 * ALIGNMENT);
        if (quantization_has_k_grids(&run->quantization))
            size += group_size(&shape) / GRID_SUPER * 2 * sizeof(uint16_t);
    }
    return size;
}

/* ---- in the thread of the backend ---- */

/* Bytes of the packed codes of part @p of a stack. */
static size_t packed_size(const struct group_shape *shape, int wbits, int p) {
    return (size_t)shape->parts[p].rows * shape->n * wbits / 8;
}

/* The next @size bytes of the keeper. */
static struct span take(struct keeper *keeper, size_t size) {
    struct span span = span_slice(keeper->memory, keeper->used, size);

    keeper->used += ALIGN_UP(size, ALIGNMENT);
    return span;
}

static bool parts_are_alike(const struct group_shape *shape) {
    bool alike = true;

    for (int p = 1; p < shape->n_parts; p++)
        alike &= shape->parts[p].rows == shape->parts[0].rows;
    return alike;
}

/* Packs the codes of every part into @packed, one after the other. */
static int pack_parts(const struct problem *problem, struct span packed) {
    const struct group_shape *shape = &problem->shape;
    struct backend *b = problem->b;
    size_t offset = 0;

    if (parts_are_alike(shape))
        return b->ops->pack(b, packed, problem->q.codes, problem->grid.wbits,
                            shape->G * shape->n_parts, shape->parts[0].rows, shape->n);
    for (int g = 0; g < shape->G; g++) {
        for (int p = 0; p < shape->n_parts; p++) {
            const struct group_part *part = &shape->parts[p];
            size_t size = packed_size(shape, problem->grid.wbits, p);
            size_t first = g * group_stack_size(shape) + (size_t)part->row * shape->n;
            int r = b->ops->pack(b, span_slice(packed, offset, size),
                                 span_slice(problem->q.codes, first, (size_t)part->rows * shape->n),
                                 problem->grid.wbits, 1, part->rows, shape->n);

            if (r)
                return r;
            offset += size;
        }
    }
    return 0;
}

/* Queues @span to the host; NULL with *ret_r set when that fails. */
static void *fetch(const struct problem *problem, struct kept_layer *layer, struct span span,
                   int *ret_r) {
    void *host = shard_room(&layer->codes.plain, span.size);

    *ret_r = host ? problem->b->ops->fetch(problem->b, host, span) : failure_oom(problem->failure);
    return *ret_r ? NULL : host;
}

/* The same by way of the keeper, as the solver writes over @span soon; NULL when that is empty. */
static void *fetch_copy(const struct problem *problem, struct keeper *keeper,
                        struct kept_layer *layer, struct span span, int *ret_r) {
    struct span copy = take(keeper, span.size);

    if (span.size == 0)
        return NULL;
    *ret_r = problem->b->ops->copy(problem->b, copy, span);
    return *ret_r ? NULL : fetch(problem, layer, copy, ret_r);
}

static struct kept_group *next_group(struct kept_layer *layer) {
    if (layer->n_groups == layer->capacity) {
        size_t capacity = MAX(2 * layer->capacity, (size_t)N_GROUPS);
        struct kept_group *grown = reallocarray(layer->groups, capacity, sizeof(*grown));

        if (!grown)
            return NULL;
        layer->groups = grown;
        layer->capacity = capacity;
    }
    return &layer->groups[layer->n_groups++];
}

int keep_group(struct keeper *keeper, const struct problem *problem, struct kept_layer *layer) {
    const struct quantized *q = &problem->q;
    size_t size = group_size(&problem->shape) * problem->grid.wbits / 8;
    struct span packed = take(keeper, size);
    struct kept_group *group = next_group(layer);
    int r;

    if (!group)
        return failure_oom(problem->failure);
    *group = (struct kept_group){
        .shape = problem->shape, .grid = problem->grid, .n_groups = problem->n_groups};
    r = pack_parts(problem, packed);
    if (!r)
        group->words = fetch(problem, layer, packed, &r);
    if (!r)
        group->scales = fetch_copy(problem, keeper, layer, q->scales, &r);
    if (!r)
        group->zeros = fetch_copy(problem, keeper, layer, q->zeros, &r);
    if (!r)
        group->g_idx = fetch_copy(problem, keeper, layer, q->g_idx, &r);
    if (!r)
        group->d = fetch_copy(problem, keeper, layer, q->d, &r);
    if (!r)
        group->dmin = fetch_copy(problem, keeper, layer, q->dmin, &r);
    return r;
}

int keep_weights(const struct problem *problem, struct span weights, struct kept_layer *layer) {
    size_t n = group_size(&problem->shape);
    uint16_t *bf16 = shard_room(&layer->codes.plain, n * sizeof(*bf16));

    if (!bf16)
        return failure_oom(problem->failure);
    layer->groups[layer->n_groups - 1].weights = bf16;
    layer->weights_size += n * sizeof(*bf16);
    return weights_fetch_bf16(problem->b, bf16, weights, problem->failure);
}

/* ---- in any thread ---- */

/*
 * The rows of part @part of stack @g, out of @src [G, n, rows of the stack], as [n, rows of the
 * part]; NULL when there is no @src, or no memory: *oom says so.
 */
static void *cut_rows(const void *src, const struct kept_group *kept, const struct group_part *part,
                      int g, int n, size_t element, bool *oom) {
    size_t size = part->rows * element, stack = kept->shape.rows * element;
    const char *from;
    char *dst;

    if (!src)
        return NULL;
    from = (const char *)src + (size_t)g * n * stack + part->row * element;
    dst = malloc(n * size);
    *oom |= !dst;
    for (int i = 0; i < n && dst; i++)
        memcpy(dst + i * size, from + i * stack, size);
    return dst;
}

/* Part @p of stack @g, whose codes are at @words. */
static int add_matrix(const struct kept_group *kept, struct layer_codes *layer, int number, int g,
                      int p, const void *words, struct failure *failure) {
    const struct group_shape *shape = &kept->shape;
    const struct group_part *part = &shape->parts[p];
    size_t columns = shape->n * sizeof(int32_t);
    int n_groups = kept->n_groups, n_supers = shape->n / GRID_SUPER;
    bool oom = false;
    struct matrix_codes matrix = {
        .sym = kept->grid.sym,
        .codes = {.wbits = kept->grid.wbits,
                  .rows = part->rows,
                  .n = shape->n,
                  .n_groups = n_groups,
                  .words = words},
    };
    size_t first = g * group_stack_size(shape) + (size_t)part->row * shape->n;
    struct quantized_matrix *codes = &matrix.codes;

    matrix.weights = kept->weights ? kept->weights + first : NULL;
    group_matrix_name(shape, number, g, p, matrix.name);
    codes->scales = cut_rows(kept->scales, kept, part, g, n_groups, sizeof(uint16_t), &oom);
    codes->zeros = cut_rows(kept->zeros, kept, part, g, n_groups, 1, &oom);
    codes->d = cut_rows(kept->d, kept, part, g, n_supers, sizeof(uint16_t), &oom);
    codes->dmin = cut_rows(kept->dmin, kept, part, g, n_supers, sizeof(uint16_t), &oom);
    codes->g_idx = malloc(columns);
    if (oom || !codes->g_idx) {
        quantized_matrix_done(codes);
        return failure_oom(failure);
    }
    memcpy(codes->g_idx, kept->g_idx + (size_t)g * shape->n, columns);
    return layer_codes_add(layer, &matrix) ? failure_oom(failure) : 0;
}

static int finish_group(struct kept_layer *layer, const struct kept_group *kept, int number,
                        struct failure *failure) {
    const struct group_shape *shape = &kept->shape;
    size_t offset = 0;
    int r = 0;

    for (int g = 0; g < shape->G && !r; g++) {
        for (int p = 0; p < shape->n_parts && !r; p++) {
            r = add_matrix(kept, &layer->codes, number, g, p, kept->words + offset, failure);
            offset += packed_size(shape, kept->grid.wbits, p);
        }
    }
    return r;
}

int keep_finish(struct kept_layer *layer, int number, struct failure *failure) {
    int r = 0;

    for (size_t i = 0; i < layer->n_groups && !r; i++)
        r = finish_group(layer, &layer->groups[i], number, failure);
    layer->n_groups = 0;
    return r;
}
