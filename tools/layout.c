// SPDX-License-Identifier: Apache-2.0
#include "tools/layout.h"

#include "base/checked.h"
#include "daemon/model/geometry.h"
#include "daemon/model/safetensors/safetensors.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SHARDS_MAX 99999 /* five digits in a name */

void layout_done(struct layout *layout) {
    for (size_t i = 0; i < layout->n; i++)
        free((char *)layout->tensors[i].name);
    for (int i = 0; i < layout->n_shards; i++)
        strbuf_done(&layout->shards[i].header);
    free(layout->tensors);
    free(layout->planned);
    free(layout->shards);
    *layout = (struct layout){};
}

static int grow(struct layout *layout) {
    size_t capacity = layout->capacity ? 2 * layout->capacity : 256;
    struct planned_tensor *planned;
    struct tensor *tensors;

    if (layout->n < layout->capacity)
        return 0;
    tensors = realloc(layout->tensors, capacity * sizeof(*tensors));
    if (tensors)
        layout->tensors = tensors;
    planned = realloc(layout->planned, capacity * sizeof(*planned));
    if (planned)
        layout->planned = planned;
    if (!tensors || !planned)
        return -ENOMEM;
    layout->capacity = capacity;
    return 0;
}

/* A tensor of shape [@rows, @columns], or [@rows] when columns is 0; takes @name. */
static int add(struct layout *layout, char *name, enum dtype dtype, uint64_t rows, uint64_t columns,
               enum fill fill) {
    struct tensor t = {.name = name, .dtype = dtype, .n_dims = columns ? 2 : 1};

    t.shape[0] = rows;
    t.shape[1] = columns;
    if (!name || grow(layout)) {
        free(name);
        return -ENOMEM;
    }
    layout->tensors[layout->n] = t;
    layout->planned[layout->n++] = (struct planned_tensor){.fill = fill};
    if (checked_mul(rows, columns ? columns : 1, &t.n) ||
        checked_mul(t.n, dtype_size(dtype), &t.size) ||
        __builtin_add_overflow(layout->bytes, t.size, &layout->bytes) ||
        layout->bytes > INT64_MAX / 2)
        return -EFBIG;
    layout->parameters += t.n;
    layout->tensors[layout->n - 1] = t;
    return 0;
}

/* The matrices of one group of @layer. */
static int add_group(struct layout *layout, const struct model_config *c, enum dtype dtype,
                     int layer, enum group group) {
    struct group_shape shape;
    int r = 0;

    group_shape(c, group, &shape);
    for (int g = 0; g < shape.G; g++) {
        for (int part = 0; part < shape.n_parts && !r; part++) {
            char name[MATRIX_NAME_SIZE];

            group_matrix_name(&shape, layer, g, part, name);
            r = add(layout, str_format("%s.weight", name), dtype, shape.parts[part].rows, shape.n,
                    group == GROUP_DOWN ? FILL_EXPERT : FILL_HIDDEN);
        }
    }
    return r;
}

static int add_layer(struct layout *layout, const struct model_config *c, enum dtype dtype,
                     int layer) {
    const struct {
        const char *name;
        int rows, columns;
    } rest[] = {
        {"input_layernorm", c->hidden_size, 0},
        {"post_attention_layernorm", c->hidden_size, 0},
        {"self_attn.q_norm", model_config_q_width(c), 0},
        {"self_attn.k_norm", model_config_kv_width(c), 0},
        {"mlp.gate", c->num_experts, c->hidden_size},
    };
    int r = 0;

    for (size_t i = 0; i < ARRAY_SIZE(rest) && !r; i++)
        r = add(layout, str_format("model.layers.%d.%s.weight", layer, rest[i].name), dtype,
                rest[i].rows, rest[i].columns, rest[i].columns ? FILL_HIDDEN : FILL_ONES);
    for (int group = 0; group < N_GROUPS && !r; group++)
        r = add_group(layout, c, dtype, layer, group);
    return r;
}

static int add_tensors(struct layout *layout, const struct model_config *c, enum dtype dtype) {
    int r;

    r = add(layout, str_format("model.embed_tokens.weight"), dtype, c->vocab_size, c->hidden_size,
            FILL_EMBEDDING);
    for (int i = 0; i < c->num_hidden_layers && !r; i++)
        r = add_layer(layout, c, dtype, i);
    if (!r)
        r = add(layout, str_format("model.norm.weight"), dtype, c->hidden_size, 0, FILL_ONES);
    if (!r && !c->tie_word_embeddings)
        r = add(layout, str_format("lm_head.weight"), dtype, c->vocab_size, c->hidden_size,
                FILL_HIDDEN);
    return r;
}

/* Says which shard each tensor is in. Return: their number, which may be too large. */
static size_t divide(struct layout *layout, uint64_t shard_bytes) {
    uint64_t used = 0;
    size_t shard = 0;

    for (size_t i = 0; i < layout->n; i++) {
        if (used > 0 && (used >= shard_bytes || layout->tensors[i].size > shard_bytes - used)) {
            shard++;
            used = 0;
        }
        if (shard >= SHARDS_MAX)
            return shard + 1;
        used += layout->tensors[i].size;
        layout->planned[i].shard = (int)shard;
    }
    return shard + 1;
}

static int describe_shard(struct layout *layout, struct planned_shard *shard, int number,
                          struct failure *failure) {
    uint64_t offset;
    int r;

    snprintf(shard->name, sizeof(shard->name), "model-%05d-of-%05d.safetensors", number,
             layout->n_shards);
    r = safetensors_build_header(&shard->header, layout->tensors + shard->first, shard->n,
                                 &shard->bytes, failure);
    if (r)
        return r;
    offset = shard->header.length;
    for (size_t i = shard->first; i < shard->first + shard->n; i++) {
        layout->planned[i].offset = offset;
        offset += layout->tensors[i].size;
    }
    return 0;
}

static int describe_shards(struct layout *layout, size_t n_shards, struct failure *failure) {
    int r = 0;

    layout->shards = calloc(n_shards, sizeof(*layout->shards));
    if (!layout->shards)
        return failure_oom(failure);
    layout->n_shards = (int)n_shards;
    for (size_t i = layout->n; i-- > 0;) {
        struct planned_shard *shard = &layout->shards[layout->planned[i].shard];

        shard->first = i;
        shard->n++;
    }
    for (int i = 0; i < layout->n_shards && !r; i++)
        r = describe_shard(layout, &layout->shards[i], i + 1, failure);
    return r;
}

int layout_make(const struct model_config *config, enum dtype dtype, uint64_t shard_bytes,
                struct layout *layout, struct failure *failure) {
    size_t n_shards;
    int r;

    *layout = (struct layout){};
    r = add_tensors(layout, config, dtype);
    if (r == -EFBIG)
        return failure_set(failure, r, "invalid_option", "take a smaller geometry",
                           "cannot make a model whose size does not fit 62 bits");
    if (r)
        return failure_oom(failure);
    n_shards = divide(layout, shard_bytes);
    if (n_shards > SHARDS_MAX)
        return failure_set(failure, -EINVAL, "invalid_option", "take larger shards",
                           "cannot make more than %d shards", SHARDS_MAX);
    return describe_shards(layout, n_shards, failure);
}

json_t *layout_index(const struct layout *layout) {
    json_t *map = json_object(), *index;
    bool failed = !map;

    for (size_t i = 0; i < layout->n; i++)
        failed |= json_object_set_new(map, layout->tensors[i].name,
                                      json_string(layout->shards[layout->planned[i].shard].name));
    index = json_pack("{s:{s:I} s:o}", "metadata", "total_size", (json_int_t)layout->bytes,
                      "weight_map", map);
    if (!failed)
        return index;
    json_decref(index);
    return NULL;
}
