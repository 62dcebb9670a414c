// SPDX-License-Identifier: Apache-2.0
/*
 * Weights in bf16 under the names of the original: each is the point of the grid that it was put
 * on. The device knows them, so each matrix goes through it.
 */
#include "daemon/pipeline/formats/format.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* Device memory for one matrix. */
struct room {
    struct span all;
    struct code_memory codes;
    struct span weights; /* act [rows, n] of the largest */
};

static int check(const struct quantization_config *q, const struct model_config *config,
                 struct failure *failure) {
    (void)q, (void)config, (void)failure;
    return 0;
}

/* ---- memory ---- */

static void layout(const struct format_context *c, struct arena *arena, struct room *room) {
    size_t most = 0;

    for (int i = 0; i < N_GROUPS; i++) {
        struct group_shape shape;

        group_shape(c->config, i, &shape);
        for (int p = 0; p < shape.n_parts; p++)
            most = MAX(most, (size_t)shape.parts[p].rows * shape.n);
    }
    code_memory_take(c->config, c->q, arena, &room->codes);
    arena_take(arena, &room->weights, dtype_size(c->b->ops->act), 1, most);
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

/* @n elements of act on the device as bf16, in memory of the shard; NULL with *ret_r set. */
static void *download_bf16(struct backend *b, struct shard *shard, struct span span, size_t n,
                           int *ret_r) {
    uint16_t *bf16 = shard_block(shard, n * sizeof(*bf16));
    cleanup(freep) float *f32 = NULL;

    *ret_r = -ENOMEM;
    if (!bf16)
        return NULL;
    if (b->ops->act == DTYPE_BF16) {
        *ret_r = b->ops->download(b, bf16, span);
        return *ret_r ? NULL : bf16;
    }
    f32 = malloc(n * sizeof(*f32));
    if (!f32)
        return NULL;
    *ret_r = b->ops->download(b, f32, span);
    for (size_t i = 0; i < n && !*ret_r; i++)
        bf16[i] = f32_to_bf16(f32[i]);
    return *ret_r ? NULL : bf16;
}

static int add_matrix(const struct format_context *c, const struct matrix_codes *m,
                      struct room *room, struct shard *shard) {
    size_t n = (size_t)m->codes.rows * m->codes.n;
    struct span dst = span_slice(room->weights, 0, n * dtype_size(c->b->ops->act));
    char name[MATRIX_NAME_SIZE + 8];
    void *data = NULL;
    int r, synced;

    r = weights_queue_matrix(c->b, &m->codes, &room->codes, dst);
    if (!r)
        data = download_bf16(c->b, shard, dst, n, &r);
    if (r) {
        synced = c->b->ops->sync(c->b); /* nothing may still read the matrix */
        return synced ? synced : r;
    }
    snprintf(name, sizeof(name), "%s.weight", m->name);
    return shard_add(shard, name, DTYPE_BF16, m->codes.rows, m->codes.n, data);
}

/* ---- the format ---- */

/* A tensor as bf16. */
static int add_plain(const struct format_context *c, const struct tensor *tensor,
                     struct shard *shard) {
    int r = shard_add_float(shard, tensor->name, tensor, DTYPE_BF16);

    return r == -ENOMEM ? failure_oom(c->failure) : r;
}

static int add_layer(const struct format_context *c, const struct layer_codes *layer,
                     struct shard *shard) {
    struct room room = {};
    int r = 0;

    for (size_t i = 0; i < layer->plain.n_tensors && !r; i++)
        r = add_plain(c, &layer->plain.tensors[i], shard);
    if (!r)
        r = room_alloc(c, &room);
    for (size_t i = 0; i < layer->n_matrices && !r; i++)
        r = add_matrix(c, &layer->matrices[i], &room, shard);
    c->b->ops->free(c->b, &room.all);
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
    .check = check,
    .add_layer = add_layer,
    .add_plain = add_plain,
    .describe = describe,
    .bits_per_weight = bits_per_weight,
};
