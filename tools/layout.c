// SPDX-License-Identifier: Apache-2.0
#include "tools/layout.h"

#include "base/checked.h"
#include "daemon/model/arch/arch.h"
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

struct plan {
    struct layout *layout;
    const struct model_config *config;
    enum dtype dtype;
};

static enum fill fill_of(const struct arch_tensor *t) {
    if (t->columns == DIM_NONE)
        return FILL_ONES;
    if (t->role == ROLE_EMBEDDING)
        return FILL_EMBEDDING;
    return t->columns == DIM_INTERMEDIATE ? FILL_EXPERT : FILL_HIDDEN;
}

static int add_tensor(void *ctx, const struct arch_tensor *t, int layer, int expert) {
    const struct plan *plan = ctx;
    const struct model_config *c = plan->config;
    char name[MATRIX_NAME_SIZE];

    if (arch_is_tied(c, t))
        return 0;
    arch_name(t->name, layer, expert, name);
    return add(plan->layout, str_format("%s.weight", name), plan->dtype, arch_dim(c, t->rows),
               t->columns == DIM_NONE ? 0 : arch_dim(c, t->columns), fill_of(t));
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
    struct plan plan = {layout, config, dtype};
    size_t n_shards;
    int r;

    *layout = (struct layout){};
    r = arch_walk(config, add_tensor, &plan);
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
