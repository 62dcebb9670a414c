// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/weights.h"

#include "base/memory/memory.h"
#include "base/task.h"
#include "daemon/model/arch/scheme.h"
#include "daemon/model/readers/gguf_types.h"
#include "daemon/model/safetensors/finite.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDED_AT_ONCE ((size_t)1 << 20) /* elements */

/* ---- plain weights ---- */

static int stage_tensor(struct backend *b, struct span dst, const struct tensor *t,
                        const char *name, struct failure *failure) {
    if (!t || t->n * dtype_size(b->ops->act) != dst.size)
        return failure_set(failure, -EBADMSG, "model_invalid", NULL,
                           "tensor '%s' is missing or has another shape than the model", name);
    return b->ops->stage(b, dst, t->data, t->dtype, t->n);
}

/* Weights that a layout gives as they are: they are at @dst at once, and freed. */
static int stage_values(struct backend *b, struct span dst, struct quantized_matrix *matrix) {
    int r = b->ops->stage(b, dst, matrix->values, DTYPE_F32, (size_t)matrix->rows * matrix->n);

    if (!r)
        r = b->ops->stage_wait(b);
    quantized_matrix_done(matrix);
    return r;
}

/* The plain tensor @t of @layer, -1: outside of the layers. */
static int stage_plain(struct backend *b, const struct tensor_finder *tensors,
                       const struct arch_tensor *t, int layer, struct span dst,
                       struct failure *failure) {
    char name[MATRIX_NAME_SIZE + 8];

    arch_name(t->name, layer, -1, name);
    strcat(name, ".weight");
    return stage_tensor(b, dst, tensor_find(tensors, name), name, failure);
}

/* ---- weights to the host ---- */

int weights_fetch_bf16(struct backend *b, uint16_t *bf16, struct span src,
                       struct failure *failure) {
    size_t n = src.size / dtype_size(b->ops->act);
    cleanup(freep) float *f32 = NULL;
    int r = 0;

    if (b->ops->act == DTYPE_BF16)
        return b->ops->fetch(b, bf16, src);
    f32 = malloc(MIN(n, ROUNDED_AT_ONCE) * sizeof(*f32));
    if (!f32)
        return failure_oom(failure);
    for (size_t at = 0; at < n && !r; at += ROUNDED_AT_ONCE) {
        size_t count = MIN(n - at, ROUNDED_AT_ONCE);

        r = b->ops->download(b, f32, span_slice(src, at * sizeof(*f32), count * sizeof(*f32)));
        for (size_t i = 0; i < count && !r; i++)
            bf16[at + i] = f32_to_bf16(f32[i]);
    }
    return r;
}

/* ---- quantized weights ---- */

int weights_queue_matrix(struct backend *b, const struct quantized_matrix *m,
                         struct code_memory *codes, struct span dst) {
    const struct group_shape shape = {.G = 1, .rows = m->rows, .n = m->n};
    struct span packed = span_slice(codes->packed, 0, quantized_matrix_bytes(m));
    struct quantized view = code_memory_view(codes, &shape, m->n_groups);
    int r;

    if (m->d)
        code_memory_add_units(codes, &shape, !m->dmin, &view);
    r = b->ops->upload(b, packed, m->words);
    if (!r)
        r = b->ops->unpack(b, view.codes, packed, m->wbits, 1, m->rows, m->n);
    if (!r)
        r = b->ops->upload(b, view.scales, m->scales);
    if (!r)
        r = b->ops->upload(b, view.zeros, m->zeros);
    if (!r)
        r = b->ops->upload(b, view.g_idx, m->g_idx);
    if (!r && m->d)
        r = b->ops->upload(b, view.d, m->d);
    if (!r && m->dmin)
        r = b->ops->upload(b, view.dmin, m->dmin);
    if (!r)
        r = b->ops->dequantize(b, dst, &view, m->n_groups, 1, m->rows, m->n);
    return r;
}

/* Brings the matrix @name [rows, n] of @scheme to @dst; *@matrix, if it is quantized, stays until
 * the queue is done with it. */
static int stage_matrix(struct backend *b, const struct weights_source *source,
                        const struct tensor_finder *tensors, const struct scheme *scheme, int rows,
                        int n, const char *name, struct span dst, struct code_memory *codes,
                        struct quantized_matrix *matrix, struct failure *failure) {
    const struct quantization_config *q = source->quantization;
    char full[MATRIX_NAME_SIZE + 8];
    int r;

    if (q->present && q->reader->has(tensors, name)) {
        const struct quantization_config one = quantization_as(q, scheme);

        r = q->reader->read(tensors, &one, name, rows, n, matrix, failure);
        if (r)
            return r;
        return matrix->values ? stage_values(b, dst, matrix)
                              : weights_queue_matrix(b, matrix, codes, dst);
    }
    snprintf(full, sizeof(full), "%s.weight", name);
    return stage_tensor(b, dst, tensor_find(tensors, full), full, failure);
}

/* A group of one layer on its way to the device. */
struct bringing {
    struct backend *b;
    const struct weights_source *source;
    struct tensor_finder tensors;
    int layer;
    enum group group;
    struct code_memory *codes;
    const struct staged_codes *staged; /* NULL: none */
    struct quantized_matrix *matrices; /* [G * n_parts]: until the queue is done with them */
    struct failure *failure;
};

/* Part @p of stack @g to @dst. */
static int stage_part(struct bringing *bringing, const struct group_shape *shape, int g, int p,
                      struct span dst) {
    const struct weights_source *source = bringing->source;
    int i = g * shape->n_parts + p, r = 0;
    char name[MATRIX_NAME_SIZE];
    bool done = false;

    if (bringing->staged)
        r = staged_codes_matrix(bringing->staged, bringing->group, i, bringing->codes, dst, &done);
    if (r || done)
        return r;
    group_matrix_name(shape, bringing->layer, g, p, name);
    return stage_matrix(bringing->b, source, &bringing->tensors,
                        scheme_of_part(&source->checkpoint->config, source->quantization,
                                       bringing->layer, shape, g, p),
                        shape->parts[p].rows, shape->n, name, dst, bringing->codes,
                        &bringing->matrices[i], bringing->failure);
}

static int stage_stacks(struct bringing *bringing, const struct group_shape *shape,
                        struct span dst) {
    size_t act = dtype_size(bringing->b->ops->act), offset = 0;

    for (int g = 0; g < shape->G; g++) {
        for (int p = 0; p < shape->n_parts; p++) {
            size_t size = (size_t)shape->parts[p].rows * shape->n * act;
            int r = stage_part(bringing, shape, g, p, span_slice(dst, offset, size));

            if (r)
                return r;
            offset += size;
        }
    }
    return 0;
}

static int stage_group(struct bringing *bringing, struct span dst) {
    const struct model_config *c = &bringing->source->checkpoint->config;
    cleanup(freep) struct quantized_matrix *matrices = NULL;
    struct backend *b = bringing->b;
    struct group_shape shape;
    const struct tensor *fused;
    bool waits = false;
    int n, r, synced = 0;

    fused = arch_fused(c, &bringing->tensors, bringing->group, bringing->layer);
    if (fused)
        return stage_tensor(b, dst, fused, fused->name, bringing->failure);
    group_shape(c, bringing->group, &shape);
    n = shape.G * shape.n_parts;
    matrices = bringing->matrices = calloc(n, sizeof(*matrices));
    if (!matrices)
        return failure_oom(bringing->failure);
    r = stage_stacks(bringing, &shape, dst);
    for (int i = 0; i < n; i++)
        waits |= matrices[i].scales != NULL;
    if (waits)
        synced = b->ops->sync(b); /* also when it failed: the matrices go away */
    for (int i = 0; i < n; i++)
        quantized_matrix_done(&matrices[i]);
    return r ? r : synced;
}

int layer_weights_unpack(struct backend *b, const struct weights_source *source, int layer,
                         struct layer_weights *dst, struct code_memory *codes,
                         const struct staged_codes *staged, struct failure *failure) {
    const struct model_config *c = &source->checkpoint->config;
    struct bringing bringing = {.b = b,
                                .source = source,
                                .tensors = weights_finder(source, layer),
                                .layer = layer,
                                .codes = codes,
                                .staged = staged,
                                .failure = failure};
    int r = 0;

    for (size_t i = 0; i < c->arch->n_tensors && !r; i++) {
        const struct arch_tensor *t = &c->arch->tensors[i];

        if (arch_in_layer(t) && t->role != ROLE_MATRIX)
            r = stage_plain(b, &bringing.tensors, t, layer, dst->plain[t->role], failure);
    }
    for (int i = 0; i < N_GROUPS && !r; i++) {
        bringing.group = i;
        r = stage_group(&bringing, dst->matrices[i]);
    }
    return r;
}

int layer_weights_stage(struct backend *b, const struct weights_source *source, int layer,
                        struct layer_weights *dst, struct code_memory *codes,
                        struct failure *failure) {
    return layer_weights_unpack(b, source, layer, dst, codes, NULL, failure);
}

static int check_finite(struct backend *b, struct span all, bool *ret_finite) {
    return b->ops->all_finite(b, all, all.size / dtype_size(b->ops->act), ret_finite);
}

/* Names the tensor of @layer that made the device find a value that is not finite. */
static int blame_tensor(const struct weights_source *source, int layer, struct failure *failure) {
    char prefix[MATRIX_NAME_SIZE];

    snprintf(prefix, sizeof(prefix), "model.layers.%d.", layer);
    for (size_t i = 0; i < source->checkpoint->n_shards; i++) {
        const struct safetensors *shard = source->checkpoint->shards[i];

        for (size_t j = 0; j < safetensors_n_tensors(shard); j++) {
            const struct tensor *t = safetensors_at(shard, j);

            if (strncmp(t->name, prefix, strlen(prefix)) == 0 && !tensor_is_finite(t))
                return tensor_not_finite(t->name, failure);
        }
    }
    snprintf(prefix, sizeof(prefix), "a tensor of layer %d", layer);
    return tensor_not_finite(prefix, failure);
}

static int check_intact(const struct checkpoint *checkpoint, struct failure *failure) {
    if (checkpoint_intact(checkpoint))
        return 0;
    return failure_set(failure, -EBADMSG, "model_invalid",
                       "do not change a model while a job reads it; retry the job",
                       "a file of the model was cut short while it was read");
}

int layer_weights_ready(struct backend *b, const struct weights_source *source, int layer,
                        struct layer_weights *dst, struct failure *failure) {
    bool finite = true;
    int r;

    r = b->ops->stage_wait(b);
    if (!r)
        r = check_finite(b, dst->all, &finite);
    if (!r)
        r = check_intact(source->checkpoint, failure);
    if (!r && !finite)
        r = blame_tensor(source, layer, failure);
    return r;
}

int layer_weights_load(struct backend *b, const struct weights_source *source, int layer,
                       struct layer_weights *dst, struct code_memory *codes,
                       struct failure *failure) {
    int r = layer_weights_stage(b, source, layer, dst, codes, failure);

    return r ? r : layer_weights_ready(b, source, layer, dst, failure);
}

/* ---- embedding and head ---- */

static void ends_layout(const struct model_config *c, size_t act, bool head, struct arena *arena,
                        struct outer_weights *ends) {
    arena_take(arena, &ends->embedding, act, c->vocab_size, c->hidden_size);
    if (!head)
        return;
    arena_take(arena, &ends->norm, act, 1, c->hidden_size);
    ends->head = ends->embedding;
    if (!c->tie_word_embeddings)
        arena_take(arena, &ends->head, act, c->vocab_size, c->hidden_size);
}

size_t outer_weights_size(const struct model_config *config, size_t act_size, bool head) {
    struct outer_weights ends = {};
    struct arena arena = {};

    ends_layout(config, act_size, head, &arena, &ends);
    return arena_size(&arena);
}

/* A tensor on its way to weights in Q8_0. */
struct rounding {
    const struct tensor *tensor;
    float *to;
};

static int round_blocks(void *ctx, int part) {
    const struct gguf_type *type = gguf_type_find(GGUF_Q8_0);
    const struct rounding *rounding = ctx;
    const struct tensor *t = rounding->tensor;
    size_t first = (size_t)part * ROUNDED_AT_ONCE, end = MIN(first + ROUNDED_AT_ONCE, t->n);

    for (size_t i = first; i < end; i += GGUF_Q8_0_BLOCK) {
        unsigned char block[GGUF_Q8_0_BYTES];

        if (dtype_to_f32(rounding->to + i, (const char *)t->data + i * dtype_size(t->dtype),
                         t->dtype, GGUF_Q8_0_BLOCK))
            return -EINVAL;
        gguf_pack_q8_0(rounding->to + i, block);
        gguf_unpack(type, block, GGUF_Q8_0_BLOCK, rounding->to + i);
    }
    return 0;
}

/* The floats of @t, rounded to Q8_0, as those of a matrix; whole blocks of a row. */
static int round_to_q8_0(const struct tensor *t, struct quantized_matrix *matrix) {
    struct rounding rounding = {t, NULL};

    if (t->n_dims != 2 || t->shape[1] % GGUF_Q8_0_BLOCK)
        return -EINVAL;
    matrix->rows = (int)t->shape[0];
    matrix->n = (int)t->shape[1];
    matrix->values = rounding.to = memory_room(t->n * sizeof(*matrix->values));
    return matrix->values ? tasks_share(round_blocks, &rounding,
                                        (int)((t->n + ROUNDED_AT_ONCE - 1) / ROUNDED_AT_ONCE))
                          : -ENOMEM;
}

static int stage_rounded(struct backend *b, const struct tensor_finder *tensors,
                         const struct arch_tensor *t, struct span dst, struct failure *failure) {
    cleanup(quantized_matrix_done) struct quantized_matrix matrix = {};
    char name[MATRIX_NAME_SIZE + 8];
    const struct tensor *found;
    int r;

    snprintf(name, sizeof(name), "%s.weight", t->name);
    found = tensor_find(tensors, name);
    r = found ? round_to_q8_0(found, &matrix) : -EINVAL;
    if (r == -ENOMEM)
        return failure_oom(failure);
    if (r || found->n * dtype_size(b->ops->act) != dst.size)
        return failure_set(failure, -EBADMSG, "model_invalid", NULL,
                           "tensor '%s' is missing or has another shape than the model", name);
    return stage_values(b, dst, &matrix);
}

/* The tensor @t to @dst; that of a GGUF file may be in blocks. */
static int stage_outer_tensor(struct backend *b, const struct checkpoint *checkpoint,
                              const struct arch_tensor *t, bool q8_0, struct span dst,
                              struct failure *failure) {
    const struct quantization_config *q = &checkpoint->config.quantization;
    const struct tensor_finder tensors = checkpoint_finder(checkpoint);
    struct quantized_matrix matrix = {};
    int r;

    if (q8_0 && t->columns != DIM_NONE)
        return stage_rounded(b, &tensors, t, dst, failure);
    if (!q->present || !q->reader->has(&tensors, t->name))
        return stage_plain(b, &tensors, t, -1, dst, failure);
    r = q->reader->read(&tensors, q, t->name, arch_dim(&checkpoint->config, t->rows),
                        arch_dim(&checkpoint->config, t->columns), &matrix, failure);
    return r ? r : stage_values(b, dst, &matrix);
}

/* Where the tensor @t goes; empty when it is not wanted, or is the embedding. */
static struct span outer_span(const struct outer_weights *outer, const struct model_config *c,
                              const struct arch_tensor *t) {
    if (t->role == ROLE_EMBEDDING)
        return outer->embedding;
    if (t->role == ROLE_FINAL_NORM)
        return outer->norm;
    return t->role == ROLE_HEAD && !arch_is_tied(c, t) ? outer->head : (struct span){};
}

static int stage_outer(struct backend *b, const struct checkpoint *checkpoint,
                       const struct outer_weights *outer, bool q8_0, struct failure *failure) {
    const struct model_config *c = &checkpoint->config;
    int r = 0;

    for (size_t i = 0; i < c->arch->n_tensors && !r; i++) {
        struct span dst = outer_span(outer, c, &c->arch->tensors[i]);

        if (dst.size > 0)
            r = stage_outer_tensor(b, checkpoint, &c->arch->tensors[i], q8_0, dst, failure);
    }
    return r;
}

/* Names the tensor outside of the layers that made the device find a value that is not finite. */
static int blame_outer(const struct checkpoint *checkpoint, struct failure *failure) {
    const struct model_config *c = &checkpoint->config;

    for (size_t i = 0; i < c->arch->n_tensors; i++) {
        const struct arch_tensor *t = &c->arch->tensors[i];
        const struct tensor *found =
            arch_in_layer(t) ? NULL : checkpoint_find(checkpoint, "%s.weight", t->name);

        if (found && !tensor_is_finite(found))
            return tensor_not_finite(found->name, failure);
    }
    return tensor_not_finite("a tensor outside of the layers", failure);
}

int outer_weights_load(struct backend *b, const struct checkpoint *checkpoint, bool head, bool q8_0,
                       struct outer_weights *ret_ends, struct failure *failure) {
    const struct model_config *c = &checkpoint->config;
    size_t act = dtype_size(b->ops->act);
    struct outer_weights ends = {};
    struct arena arena = {};
    bool finite = true;
    int r;

    ends_layout(c, act, head, &arena, &ends);
    r = arena_alloc(b, &arena, &ends.all);
    if (r)
        return r;
    ends_layout(c, act, head, &arena, &ends);
    r = b->ops->zero(b, ends.all);
    if (!r)
        r = b->ops->sync(b);
    if (!r)
        r = stage_outer(b, checkpoint, &ends, q8_0, failure);
    if (!r)
        r = b->ops->stage_wait(b);
    if (!r)
        r = check_finite(b, ends.all, &finite);
    if (!r)
        r = check_intact(checkpoint, failure);
    if (!r && !finite)
        r = blame_outer(checkpoint, failure);
    if (r) {
        b->ops->free(b, &ends.all);
        return r;
    }
    *ret_ends = ends;
    return 0;
}

void outer_weights_free(struct backend *b, struct outer_weights *ends) {
    b->ops->free(b, &ends->all);
    *ends = (struct outer_weights){};
}
