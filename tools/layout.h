// SPDX-License-Identifier: Apache-2.0
/* Which tensors a random checkpoint has, and which of its shards and bytes they are. */
#pragma once

#include "base/json.h"
#include "base/str.h"
#include "daemon/model/arch/config.h"
#include "daemon/model/safetensors/tensor.h"

enum fill {
    FILL_ONES,
    FILL_EMBEDDING,
    FILL_HIDDEN, /* a matrix that reads hidden_size features */
    FILL_EXPERT, /* one that reads intermediate_size */
    N_FILLS,
};

struct planned_tensor {
    enum fill fill;
    int shard;
    uint64_t offset; /* in the shard's file */
};

struct planned_shard {
    char name[48];        /* of the file */
    size_t first, n;      /* tensors */
    struct strbuf header; /* owned */
    uint64_t bytes;       /* of the file */
};

struct layout {
    struct tensor *tensors;         /* [n] without data; owned, as are the names */
    struct planned_tensor *planned; /* [n]; owned */
    size_t n, capacity;
    struct planned_shard *shards; /* [n_shards]; owned */
    int n_shards;
    uint64_t parameters, bytes; /* of all tensors */
};

/*
 * layout_make() - the tensors of @config, of type @dtype, in shards of at most @shard_bytes each,
 * or of one tensor. Return: 0 or -errno; @layout is the caller's to layout_done() in each case.
 */
int layout_make(const struct model_config *config, enum dtype dtype, uint64_t shard_bytes,
                struct layout *layout, struct failure *failure);
void layout_done(struct layout *layout);

/* layout_index() - model.safetensors.index.json; owned by the caller; NULL when out of memory. */
json_t *layout_index(const struct layout *layout);
