// SPDX-License-Identifier: Apache-2.0
/*
 * A checkpoint of random weights of any OLMoE geometry, for tests and measurements.
 *
 * Norms are 1, matrices are normal of standard deviation 1 / sqrt(in-features), so that each keeps
 * the scale of its input and nothing overflows however many layers there are. The embedding is of
 * standard deviation 1, so that the residual stream differs between tokens and the router spreads
 * them over all experts; when the head is tied to it, 1 / sqrt(hidden), which keeps logits small.
 */
#pragma once

#include "base/dtype.h"
#include "base/failure.h"
#include "daemon/model/arch/config.h"

struct random_checkpoint {
    struct model_config config; /* head_dim and quantization are not looked at */
    enum dtype dtype;           /* F32, F16 or BF16 */
    uint64_t seed;
    uint64_t shard_bytes;  /* of tensors; a shard holds at least one tensor */
    const char *tokenizer; /* file to copy; NULL: write one, see byte_tokenizer.h */
    int n_threads;         /* 0: as many as there are processors */
};

struct random_checkpoint_facts {
    uint64_t parameters, bytes; /* of all tensors */
    int n_shards;
};

/*
 * random_checkpoint_write() - write @what to the folder @dir, which is made and must not hold a
 * model already. Holds a megabyte per thread; the same input gives the same bytes whatever the
 * number of threads. The index comes last, so an interrupted checkpoint is no model.
 * Return: 0; -EINVAL (invalid_option, or the code of the model's check); -EEXIST; -ENOSPC; or
 * -errno. On failure what was written stays. Any thread.
 */
int random_checkpoint_write(const struct random_checkpoint *what, const char *dir,
                            struct random_checkpoint_facts *ret_facts, struct failure *failure);
