// SPDX-License-Identifier: Apache-2.0
/*
 * A model folder: config.json and its tensors, in model.safetensors or in the shards that
 * model.safetensors.index.json names. Pickle files (.bin, .pt) are refused by name.
 */
#pragma once

#include "base/hash.h"
#include "daemon/model/config.h"
#include "daemon/model/safetensors/safetensors.h"

struct checkpoint {
    char *dir; /* owned */
    struct model_config config;
    struct safetensors **shards; /* owned */
    size_t n_shards;
    /* Hash of config.json and of every shard's name, size and header, which holds all names,
     * shapes and offsets, and of 64 KiB at both ends and the middle of its data. */
    char fingerprint[SHA256_TEXT_SIZE];
};

/*
 * checkpoint_open() - open the model in @dir, map its shards, and check that every tensor that
 * an OLMoE of this geometry has (plain, or quantized as config.quantization says) is there with
 * the right shape and a float type where floats belong. Index entries with path separators, with
 * a shard that is missing, or naming a tensor that the shard lacks are refused with the name of
 * what is missing. The caller owns *ret_checkpoint.
 * Return: 0, -EBADMSG (model_invalid), -ENOENT (model_incomplete), or -errno.
 */
int checkpoint_open(const char *dir, struct checkpoint **ret_checkpoint, struct failure *failure);
void checkpoint_free(struct checkpoint *checkpoint); /* NULL is fine */

/* checkpoint_finder() - looks in all shards; it borrows the checkpoint. */
struct tensor_finder checkpoint_finder(const struct checkpoint *checkpoint);

/* checkpoint_find() - the tensor called by the printf @format, or NULL. */
const struct tensor *checkpoint_find(const struct checkpoint *checkpoint, const char *format, ...)
    printf_format(2, 3);

/* checkpoint_intact() - false once a shard was cut short under its mapping. */
bool checkpoint_intact(const struct checkpoint *checkpoint);

DEFINE_CLEANUP(struct checkpoint *, checkpoint_freep, checkpoint_free)
