// SPDX-License-Identifier: Apache-2.0
/*
 * The one file that llama.cpp reads, and what is built on it. The codes, scales and zeros of a job
 * are points of the grids of some of ggml's types, so nothing is rounded again.
 */
#include "base/cleanup.h"
#include "base/task.h"
#include "daemon/model/arch/scheme.h"
#include "daemon/model/readers/gguf_types.h"
#include "daemon/pipeline/formats/format.h"
#include "daemon/pipeline/formats/gguf/file.h"
#include "daemon/pipeline/formats/gguf/keys.h"
#include "daemon/pipeline/formats/gguf/layout.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define BLOCKS_AT_ONCE 4096 /* that a thread rounds */

/* ---- what it can hold ---- */

static int refuse_model(struct failure *failure, const char *what) {
    return failure_set(failure, -EINVAL, "model_unsupported", "take another format",
                       "gguf cannot hold this model: %s", what);
}

/* What the graph of OLMoE in llama.cpp (src/models/olmoe.cpp) does without looking. */
static int check_model(const struct model_config *config, struct failure *failure) {
    if (!str_equal(config->arch->model_type, "olmoe"))
        return refuse_model(failure, "it is not OLMoE");
    if (config->clip_qkv > 0)
        return refuse_model(failure, "llama.cpp does not clip q, k and v (clip_qkv)");
    if (config->norm_topk_prob)
        return refuse_model(failure,
                            "llama.cpp does not normalize the experts' weights (norm_topk_prob)");
    if (config->num_key_value_heads != config->num_attention_heads)
        return refuse_model(failure, "llama.cpp wants as many heads of k and v as of q");
    return 0;
}

static int check_scheme(const struct quantization_config *q, struct failure *failure) {
    if (q->wbits == 8 && !q->sym)
        return failure_field(failure, "format", "add sym, or take 4 bits or another format",
                             "gguf cannot hold 8 bits on asymmetric grids");
    if (q->groupsize > 0 && !gguf_matrix_type(q, q->sub_bits ? GRID_SUPER : q->groupsize))
        return failure_field(failure, "format",
                             "take a groupsize that is a multiple of 32, or another format",
                             "gguf cannot hold groups of %d columns", q->groupsize);
    return 0;
}

/* The experts of a layer are one tensor, and rows are whole blocks. */
static int check_parts(const struct quantization_config *q, const struct model_config *config,
                       int layer, const struct group_shape *shape, struct failure *failure) {
    for (int p = 0; p < shape->n_parts; p++) {
        for (int g = 0; g < shape->G; g++) {
            const struct quantization_config one =
                quantization_as(q, scheme_of_part(config, q, layer, shape, g, p));

            if (!gguf_matrix_type(&one, shape->n))
                return failure_set(
                    failure, -EINVAL, "model_unsupported", "take another format",
                    "gguf cannot hold %s: its %d in-features are not a multiple of 32",
                    shape->parts[p].name, shape->n);
        }
        if (!gguf_part_type(config, q, layer, shape, p))
            return failure_field(failure, "rules",
                                 "treat all experts alike, or take another format",
                                 "gguf cannot hold experts of layer %d that differ in %s", layer,
                                 shape->parts[p].name);
    }
    return 0;
}

static int check(const struct quantization_config *q, const struct model_config *config,
                 struct failure *failure) {
    int r = q->schemes ? 0 : check_scheme(q, failure);

    for (int i = 0; q->schemes && i < q->schemes->n && !r; i++) {
        const struct quantization_config one = quantization_as(q, &q->schemes->list[i]);

        r = one.present ? check_scheme(&one, failure) : 0;
    }
    for (int layer = 0; config && layer < (q->schemes ? config->num_hidden_layers : 1) && !r;
         layer++) {
        for (int i = 0; i < N_GROUPS && !r; i++) {
            struct group_shape shape;

            group_shape(config, i, &shape);
            r = check_parts(q, config, layer, &shape, failure);
        }
    }
    return config && !r ? check_model(config, failure) : r;
}

static int check_files(const char *model_root, const char *model_dir,
                       const struct model_config *config, struct failure *failure) {
    return gguf_put_tokenizer(NULL, model_root, model_dir, config, failure);
}

/* ---- tensors ---- */

/* A tensor on its way to blocks of Q8_0. */
struct rounding {
    const struct tensor *tensor;
    unsigned char *to;
};

static int round_blocks(void *ctx, int part) {
    const struct rounding *rounding = ctx;
    const struct tensor *t = rounding->tensor;
    size_t first = (size_t)part * BLOCKS_AT_ONCE, step = GGUF_Q8_0_BLOCK * dtype_size(t->dtype);
    size_t end = MIN(first + BLOCKS_AT_ONCE, t->n / GGUF_Q8_0_BLOCK);

    for (size_t i = first; i < end; i++) {
        float values[GGUF_Q8_0_BLOCK];

        if (dtype_to_f32(values, (const char *)t->data + i * step, t->dtype, GGUF_Q8_0_BLOCK))
            return -EINVAL;
        gguf_pack_q8_0(values, rounding->to + i * GGUF_Q8_0_BYTES);
    }
    return 0;
}

/* Rows of @tensor are whole blocks, as those of every matrix are. */
static int add_q8_0(const char *name, const struct tensor *tensor, struct shard *shard) {
    size_t n = tensor->n / GGUF_Q8_0_BLOCK, size = n * GGUF_Q8_0_BYTES;
    struct rounding rounding = {tensor, shard_room(shard, size)};
    int r = rounding.to ? tasks_share(round_blocks, &rounding,
                                      (int)((n + BLOCKS_AT_ONCE - 1) / BLOCKS_AT_ONCE))
                        : -ENOMEM;

    return r ? r : shard_add(shard, name, DTYPE_U8, size, 0, rounding.to);
}

static int add_float(const struct format_context *c, enum tensor_role role, int layer,
                     const struct tensor *tensor, struct shard *shard) {
    const struct ggml_type *type = gguf_plain_type(c->q, role);
    char name[GGUF_NAME_SIZE];
    int r;

    gguf_plain_name(role, layer, name);
    if (type == &ggml_f32 || type == &ggml_bf16)
        r = shard_add_float(shard, name, tensor, type == &ggml_f32 ? DTYPE_F32 : DTYPE_BF16);
    else
        r = add_q8_0(name, tensor, shard);
    return r == -ENOMEM ? failure_oom(c->failure) : r;
}

static int add_plain(const struct format_context *c, const struct tensor *tensor,
                     struct shard *shard) {
    const struct arch *arch = c->config->arch;
    int r = 0;

    for (size_t i = 0; i < arch->n_tensors && !r; i++) {
        const struct arch_tensor *row = &arch->tensors[i];
        size_t n = strlen(row->name);

        if (strncmp(tensor->name, row->name, n) != 0 || !str_equal(tensor->name + n, ".weight") ||
            arch_is_tied(c->config, row))
            continue;
        r = add_float(c, row->role, -1, tensor, shard);
        if (!r && row->role == ROLE_EMBEDDING && c->config->tie_word_embeddings)
            r = add_float(c, ROLE_HEAD, -1, tensor, shard);
    }
    return r;
}

static int damaged(const struct format_context *c, const char *name) {
    return failure_set(c->failure, -EBADMSG, "damaged", "quantize the model again",
                       "the codes of '%s' are not on the grid that the job asked for", name);
}

/* A plain matrix called @name as BF16 to @to. */
static int pack_plain(const struct layer_codes *layer, const char *name, unsigned char *to) {
    cleanup(shard_done) struct shard shard = {};
    char full[MATRIX_NAME_SIZE + 8];

    snprintf(full, sizeof(full), "%s.weight", name);
    for (size_t i = 0; i < layer->plain.n_tensors; i++) {
        const struct tensor *t = &layer->plain.tensors[i];
        int r;

        if (strcmp(t->name, full) != 0)
            continue;
        r = shard_add_float(&shard, full, t, DTYPE_BF16);
        if (!r)
            memcpy(to, shard.tensors[0].data, shard.tensors[0].size);
        return r;
    }
    return -EINVAL;
}

/* Part `p` of all stacks of a group, on its way to blocks. */
struct packing {
    const struct group_shape *shape;
    int p;
    const struct layer_codes *layer;
    const struct ggml_type *type;
    unsigned char *to; /* [G] of `size` bytes */
    size_t size;
};

static int pack_stack(void *ctx, int g) {
    const struct packing *packing = ctx;
    unsigned char *to = packing->to + g * packing->size;
    const struct matrix_codes *m;
    char name[MATRIX_NAME_SIZE];

    group_matrix_name(packing->shape, packing->layer->number, g, packing->p, name);
    if (packing->type == &ggml_bf16)
        return pack_plain(packing->layer, name, to);
    m = layer_codes_find(packing->layer, name);
    return m ? ggml_pack(packing->type, &m->codes, to) : -EINVAL;
}

static int add_part(const struct format_context *c, const struct group_shape *shape, int p,
                    const struct layer_codes *layer, const char *name, struct shard *shard) {
    const struct ggml_type *type = gguf_part_type(c->config, c->q, layer->number, shape, p);
    size_t size = ggml_row_bytes(type, (size_t)shape->n) * shape->parts[p].rows;
    struct packing packing = {shape, p, layer, type, shard_block(shard, size * shape->G), size};
    int r = packing.to ? tasks_share(pack_stack, &packing, shape->G) : -ENOMEM;

    if (r && r != -ENOMEM)
        return damaged(c, name);
    if (!r)
        r = shard_add(shard, name, DTYPE_U8, size * shape->G, 0, packing.to);
    return r ? failure_oom(c->failure) : 0;
}

static int add_matrices(const struct format_context *c, const struct layer_codes *layer,
                        struct shard *shard) {
    int r = 0;

    for (int i = 0; i < N_GROUPS && !r; i++) {
        struct group_shape shape;

        group_shape(c->config, i, &shape);
        for (int p = 0; p < shape.n_parts && !r; p++) {
            char name[GGUF_NAME_SIZE];

            gguf_part_name(i, p, layer->number, name);
            r = add_part(c, &shape, p, layer, name, shard);
        }
    }
    return r;
}

static int add_layer(const struct format_context *c, const struct layer_codes *layer,
                     struct shard *shard) {
    const struct arch *arch = c->config->arch;
    size_t next = 0;
    int r = 0;

    for (size_t i = 0; i < arch->n_tensors && !r; i++) {
        const struct arch_tensor *row = &arch->tensors[i];

        if (arch_in_layer(row) && row->role != ROLE_MATRIX)
            r = add_float(c, row->role, layer->number, &layer->plain.tensors[next++], shard);
    }
    return r ? r : add_matrices(c, layer, shard);
}

/* ---- the rest ---- */

/* The file says all itself: config.json stays that of the model. */
static int describe(const struct format_context *c, json_t *meta, json_t *config) {
    (void)c, (void)meta, (void)config;
    return 0;
}

static double bits_per_weight(const struct model_config *config,
                              const struct quantization_config *q) {
    double bits = 0, weights = 0;

    for (int j = 0; j < config->num_hidden_layers * N_GROUPS; j++) {
        struct group_shape shape;

        group_shape(config, j % N_GROUPS, &shape);
        for (int p = 0; p < shape.n_parts; p++) {
            const struct ggml_type *type = gguf_part_type(config, q, j / N_GROUPS, &shape, p);
            size_t n = (size_t)shape.G * shape.parts[p].rows * shape.n;

            weights += (double)n;
            bits += 8 * (double)ggml_row_bytes(type, n);
        }
    }
    return bits / weights;
}

static size_t size(const struct model_config *config, const struct quantization_config *q) {
    cleanup(gguf_layout_done) struct gguf_layout layout = {};
    size_t total = 0;

    if (gguf_layout_init(config, q, &layout))
        return 0;
    for (size_t i = 0; i < layout.n; i++)
        total += ALIGN_UP(layout.tensors[i].size, GGUF_ALIGNMENT);
    return total;
}

const struct format_ops format_gguf = {
    .name = "gguf",
    .title = "one file for llama.cpp, in blocks of ggml that hold the codes as they are",
    .holds = {.wbits = 1u << 2 | 1u << 3 | 1u << 4 | 1u << 8,
              .sym = true,
              .asym = true,
              .k_grids = true},
    .container = &container_gguf,
    .check = check,
    .check_files = check_files,
    .add_layer = add_layer,
    .add_plain = add_plain,
    .describe = describe,
    .size = size,
    .bits_per_weight = bits_per_weight,
};
