// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/formats/shard.h"

#include "base/macros.h"
#include "base/memory/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void shard_done(struct shard *shard) {
    for (size_t i = 0; i < shard->n_tensors; i++)
        free((char *)shard->tensors[i].name);
    for (size_t i = 0; i < shard->n_blocks; i++)
        free(shard->blocks[i]);
    free(shard->tensors);
    free(shard->blocks);
    *shard = (struct shard){};
}

/* Has room for one more block. */
static bool grow_blocks(struct shard *shard) {
    size_t capacity = MAX(2 * shard->blocks_capacity, (size_t)64);
    void **grown;

    if (shard->n_blocks < shard->blocks_capacity)
        return true;
    grown = reallocarray(shard->blocks, capacity, sizeof(*grown));
    if (!grown)
        return false;
    shard->blocks = grown;
    shard->blocks_capacity = capacity;
    return true;
}

static void *keep_block(struct shard *shard, void *block, size_t size) {
    if (block) {
        shard->blocks[shard->n_blocks++] = block;
        shard->bytes += size;
    }
    return block;
}

void *shard_block(struct shard *shard, size_t size) {
    return grow_blocks(shard) ? keep_block(shard, calloc(1, MAX(size, (size_t)1)), size) : NULL;
}

void *shard_room(struct shard *shard, size_t size) {
    return grow_blocks(shard) ? keep_block(shard, memory_room(size), size) : NULL;
}

int shard_add_copy(struct shard *shard, const struct tensor *tensor) {
    struct tensor copy = *tensor;

    if (shard->n_tensors == shard->capacity) {
        size_t capacity = MAX(2 * shard->capacity, (size_t)64);
        struct tensor *grown = reallocarray(shard->tensors, capacity, sizeof(*grown));

        if (!grown)
            return -ENOMEM;
        shard->tensors = grown;
        shard->capacity = capacity;
    }
    copy.name = strdup(tensor->name);
    if (!copy.name)
        return -ENOMEM;
    shard->tensors[shard->n_tensors++] = copy;
    return 0;
}

int shard_add(struct shard *shard, const char *name, enum dtype dtype, uint64_t rows,
              uint64_t columns, const void *data) {
    struct tensor tensor = {
        .name = name,
        .dtype = dtype,
        .n_dims = columns ? 2 : 1,
        .shape = {rows, columns},
        .n = rows * MAX(columns, (uint64_t)1),
        .data = data,
    };

    tensor.size = tensor.n * dtype_size(dtype);
    return shard_add_copy(shard, &tensor);
}

int shard_add_float(struct shard *shard, const char *name, const struct tensor *tensor,
                    enum dtype dtype) {
    size_t from = dtype_size(tensor->dtype), to = dtype_size(dtype);
    struct tensor copy = *tensor;
    unsigned char *data = NULL;
    int r = 0;

    copy.name = name;
    if (tensor->dtype == dtype)
        return shard_add_copy(shard, &copy);
    data = shard_block(shard, tensor->n * to);
    if (!data)
        return -ENOMEM;
    for (size_t i = 0; i < tensor->n && !r; i++) {
        float value;
        uint16_t bf16;

        r = dtype_to_f32(&value, (const unsigned char *)tensor->data + i * from, tensor->dtype, 1);
        bf16 = f32_to_bf16(value);
        memcpy(data + i * to, dtype == DTYPE_F32 ? (void *)&value : &bf16, to);
    }
    copy.dtype = dtype;
    copy.size = tensor->n * to;
    copy.data = data;
    return r ? r : shard_add_copy(shard, &copy);
}
