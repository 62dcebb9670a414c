// SPDX-License-Identifier: Apache-2.0
/*
 * A model folder: config.json and its tensors, in model.safetensors or in the shards that
 * model.safetensors.index.json names. Pickle files (.bin, .pt) are refused by name. Or a GGUF file,
 * which says all itself.
 */
#pragma once

#include "base/hash.h"
#include "daemon/model/arch/config.h"
#include "daemon/model/fingerprint/fingerprint.h"
#include "daemon/model/safetensors/safetensors.h"

struct checkpoint {
    char *root, *dir; /* as for file_open_in(); root may be NULL; owned */
    bool is_gguf;     /* dir is a GGUF file; its tensors are those of one shard */
    struct model_config config;
    struct safetensors **shards; /* owned */
    size_t n_shards;
    struct fingerprint_file *files; /* [n_shards]: the same, to be hashed; owned with their texts */
    char description[SHA256_TEXT_SIZE]; /* hash of what config.json and its like say */
    struct watch watch;                 /* every file that was read, and more of the caller's */
};

/*
 * checkpoint_open() - open the model in @dir, a folder or a GGUF file, every file as by
 * file_open_in(), map its shards, and check that every tensor that its architecture has (plain,
 * fused, or quantized as config.quantization says) is there with the right shape and a float type
 * where floats belong. Index entries with path separators, with a shard that is missing, or naming
 * a tensor that the shard lacks are refused with the name of what is missing. The caller owns
 * *ret_checkpoint. Return: 0, -EBADMSG (model_invalid), -ENOENT (model_incomplete), or -errno.
 */
int checkpoint_open(const char *root, const char *dir, struct checkpoint **ret_checkpoint,
                    struct failure *failure);
void checkpoint_free(struct checkpoint *checkpoint); /* NULL is fine */

/* checkpoint_finder() - looks in all shards; it borrows the checkpoint. */
struct tensor_finder checkpoint_finder(const struct checkpoint *checkpoint);

/* checkpoint_find() - the tensor called by the printf @format, or NULL. */
const struct tensor *checkpoint_find(const struct checkpoint *checkpoint, const char *format, ...)
    printf_format(2, 3);

/* checkpoint_intact() - false once a shard was cut short under its mapping. */
bool checkpoint_intact(const struct checkpoint *checkpoint);

/*
 * checkpoint_watch() - add the file @name of the folder, which may be missing, to those that must
 * stay as they are. Return: 0 or -errno.
 */
int checkpoint_watch(struct checkpoint *checkpoint, const char *name, struct failure *failure);

/*
 * checkpoint_start_hashing() - begin to find out the fingerprint of the model, which lives no
 * longer than the checkpoint. @cache_path: as in fingerprint_start(). Return: 0 or -errno.
 */
int checkpoint_start_hashing(const struct checkpoint *checkpoint, const char *cache_path,
                             struct fingerprint **ret_fingerprint, struct failure *failure);

DEFINE_CLEANUP(struct checkpoint *, checkpoint_freep, checkpoint_free)
