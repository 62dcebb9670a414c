// SPDX-License-Identifier: Apache-2.0
/*
 * A shard in the making: tensors, their names, and the memory they stand in. Zero-initialise.
 * One thread.
 */
#pragma once

#include "daemon/model/safetensors/safetensors.h"

#include <stdint.h>

struct shard {
    struct tensor *tensors; /* owned, as are their names */
    size_t n_tensors, capacity;
    void **blocks; /* memory that tensors stand in; owned */
    size_t n_blocks, blocks_capacity;
    size_t bytes; /* of the blocks */
};

void shard_done(struct shard *shard);

/* shard_block() - @size bytes that live as long as the shard, zeroed; NULL when out of memory. */
void *shard_block(struct shard *shard, size_t size);

/* shard_room() - the same, but not zeroed: for many bytes that are all going to be written. */
void *shard_room(struct shard *shard, size_t size);

/*
 * shard_add() - a tensor of shape [@rows, @columns], or [@rows] when columns is 0, whose data is
 * borrowed (or a shard_block()). @name is copied. Return: 0 or -ENOMEM.
 */
int shard_add(struct shard *shard, const char *name, enum dtype dtype, uint64_t rows,
              uint64_t columns, const void *data);

/*
 * shard_add_float() - a tensor of floats under @name, as F32 or BF16 (@dtype); its data is borrowed
 * when it is of that type. Return: 0, -EINVAL (no tensor of floats) or -ENOMEM.
 */
int shard_add_float(struct shard *shard, const char *name, const struct tensor *tensor,
                    enum dtype dtype);

/* shard_add_copy() - the tensor as it stands in another file; data borrowed. */
int shard_add_copy(struct shard *shard, const struct tensor *tensor);
