// SPDX-License-Identifier: Apache-2.0
/*
 * The scheme of each matrix of a model: who asks how one is quantized asks here. Any thread.
 */
#pragma once

#include "daemon/model/arch/geometry.h"
#include "daemon/model/readers/schemes.h"

/*
 * schemes_make() - @choose is asked for every matrix, in the order of arch_walk(), and may change
 * *scheme, which is @base; @expert is -1 where there is none. *ret_schemes, which the caller frees,
 * is NULL when all matrices are as @base.
 * Return: 0, what @choose returned, -E2BIG (too many schemes) or -ENOMEM.
 */
int schemes_make(const struct model_config *config, const struct scheme *base,
                 int (*choose)(void *ctx, const struct arch_tensor *tensor, int layer, int expert,
                               struct scheme *scheme),
                 void *ctx, struct schemes **ret_schemes);

/* schemes_count() - matrices of a model; at least 1. */
size_t schemes_count(const struct model_config *config);

/* scheme_of() - that of a matrix; NULL when all are as @q says. */
const struct scheme *scheme_of(const struct model_config *config,
                               const struct quantization_config *q,
                               const struct arch_tensor *tensor, int layer, int expert);

/* A module that loaders hold in one piece, and whose matrices differ. */
struct split {
    int layer;
    const char *module; /* of the architecture's `merged` */
};

/* schemes_split() - the first one of @q; false: there is none. */
bool schemes_split(const struct model_config *config, const struct quantization_config *q,
                   struct split *ret_split);

/* scheme_of_part() - the same of part @part of stack @g. */
const struct scheme *scheme_of_part(const struct model_config *config,
                                    const struct quantization_config *q, int layer,
                                    const struct group_shape *shape, int g, int part);

/*
 * quantization_as() - @q for a matrix of @scheme, NULL: of @q itself. It is not `present` when the
 * matrix is plain.
 */
struct quantization_config quantization_as(const struct quantization_config *q,
                                           const struct scheme *scheme);

/* quantization_least_groupsize() - the smallest of all schemes; -1: a row each. */
int quantization_least_groupsize(const struct quantization_config *q);

/* quantization_most_bits() - the most wbits of any matrix that is quantized. */
int quantization_most_bits(const struct quantization_config *q);

/* quantization_has_k_grids() - is any matrix on a K grid? */
bool quantization_has_k_grids(const struct quantization_config *q);
