// SPDX-License-Identifier: Apache-2.0
/*
 * Weights in bf16 under the names of the original: each is the point of the grid that it was put
 * on. The device knows them: a layer that was just quantized brings them along, and each matrix of
 * one that was read back goes through it.
 */
#include "daemon/pipeline/formats/format.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* Device memory: for a layer where fetch() runs beside other work, else for one matrix. */
struct room {
    struct span all;
    struct code_memory codes;
    struct span weights; /* act [rows, n] of the largest, or of all */
    size_t used;         /* bytes of them, when it is for all */
};

/* Does fetch() run beside the work on the next matrix? */
static bool fetches(const struct format_context *c) {
    return c->b->ops->act == DTYPE_BF16;
}

static int check(const struct quantization_config *q, const struct model_config *config,
                 struct failure *failure) {
    (void)q, (void)config, (void)failure;
    return 0;
}

/* ---- memory ---- */

static void layout(const struct format_context *c, struct arena *arena, struct room *room) {
    size_t most = 0, all = 0;

    for (int i = 0; i < N_GROUPS; i++) {
        struct group_shape shape;

        group_shape(c->config, i, &shape);
        all += group_size(&shape);
        for (int p = 0; p < shape.n_parts; p++)
            most = MAX(most, (size_t)shape.parts[p].rows * shape.n);
    }
    code_memory_take(c->config, c->q, arena, &room->codes);
    arena_take(arena, &room->weights, dtype_size(c->b->ops->act), 1, fetches(c) ? all : most);
}

static int room_alloc(const struct format_context *c, struct room *room) {
    struct arena arena = {};
    int r;

    layout(c, &arena, room);
    r = arena_alloc(c->b, &arena, &room->all);
    if (!r)
        layout(c, &arena, room);
    return r;
}

/* ---- one matrix ---- */

static int add_weights(const struct format_context *c, const struct matrix_codes *m,
                       const uint16_t *weights, struct shard *shard) {
    char name[MATRIX_NAME_SIZE + 8];

    snprintf(name, sizeof(name), "%s.weight", m->name);
    return shard_add(shard, name, DTYPE_BF16, m->codes.rows, m->codes.n, weights)
               ? failure_oom(c->failure)
               : 0;
}

/* The weights are there after fetch_wait(). */
static int add_matrix(const struct format_context *c, const struct matrix_codes *m,
                      struct room *room, struct shard *shard) {
    size_t n = (size_t)m->codes.rows * m->codes.n;
    struct span dst = span_slice(room->weights, room->used, n * dtype_size(c->b->ops->act));
    uint16_t *data = shard_room(shard, n * sizeof(*data));
    int r;

    if (!data)
        return failure_oom(c->failure);
    r = weights_queue_matrix(c->b, &m->codes, &room->codes, dst);
    if (!r)
        r = weights_fetch_bf16(c->b, data, dst, c->failure);
    if (fetches(c))
        room->used += dst.size;
    return r ? r : add_weights(c, m, data, shard);
}

/* ---- the format ---- */

/* A tensor as bf16. */
static int add_plain(const struct format_context *c, const struct tensor *tensor,
                     struct shard *shard) {
    int r = shard_add_float(shard, tensor->name, tensor, DTYPE_BF16);

    return r == -ENOMEM ? failure_oom(c->failure) : r;
}

/* All matrices by way of the device. */
static int add_matrices(const struct format_context *c, const struct layer_codes *layer,
                        struct shard *shard) {
    struct room room = {};
    int r = room_alloc(c, &room), fetched, synced;

    for (size_t i = 0; i < layer->n_matrices && !r; i++)
        r = add_matrix(c, &layer->matrices[i], &room, shard);
    /* Also when it failed: nothing may still read the layer or write to the shard. */
    fetched = c->b->ops->fetch_wait(c->b);
    synced = c->b->ops->sync(c->b);
    c->b->ops->free(c->b, &room.all);
    return r ? r : fetched ? fetched : synced;
}

static int add_layer(const struct format_context *c, const struct layer_codes *layer,
                     struct shard *shard) {
    bool at_hand = layer->n_matrices > 0 && layer->matrices[0].weights;
    int r = 0;

    for (size_t i = 0; i < layer->plain.n_tensors && !r; i++)
        r = add_plain(c, &layer->plain.tensors[i], shard);
    if (!r && !at_hand && layer->n_matrices > 0)
        r = add_matrices(c, layer, shard);
    for (size_t i = 0; i < layer->n_matrices && at_hand && !r; i++)
        r = add_weights(c, &layer->matrices[i], layer->matrices[i].weights, shard);
    return r;
}

/* Until version 5 transformers wrote torch_dtype, since then dtype: each one that is there. */
static int describe(const struct format_context *c, json_t *meta, json_t *config) {
    bool newer = json_object_get(config, "dtype") != NULL;
    bool older = json_object_get(config, "torch_dtype") != NULL || !newer;

    (void)meta;
    if ((newer && json_object_set_new(config, "dtype", json_string("bfloat16"))) ||
        (older && json_object_set_new(config, "torch_dtype", json_string("bfloat16"))))
        return failure_oom(c->failure);
    return 0;
}

static double bits_per_weight(const struct model_config *config,
                              const struct quantization_config *q) {
    (void)config, (void)q;
    return 0;
}

const struct format_ops format_dense = {
    .name = "dense",
    .title = "bf16 weights that are points of the grid, for software that reads no codes",
    .holds = {.wbits = 1u << 2 | 1u << 3 | 1u << 4 | 1u << 8,
              .sym = true,
              .asym = true,
              .k_grids = true,
              .unordered = true},
    .of_weights = true,
    .check = check,
    .add_layer = add_layer,
    .add_plain = add_plain,
    .describe = describe,
    .bits_per_weight = bits_per_weight,
};
