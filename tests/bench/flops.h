// SPDX-License-Identifier: Apache-2.0
/* Floating point operations of a job, counting a multiplication and an addition as two. */
#pragma once

#include "daemon/model/arch/geometry.h"

/* A token through one layer: the matrices that it meets, and half of the scores and sums over its
 * window, as attention is causal. */
static inline double layer_flops(const struct model_config *c, int seqlen) {
    double d = c->hidden_size, q = model_config_q_width(c), kv = model_config_kv_width(c);
    double attention = d * (q + 2 * kv) + q * d;
    double experts = 3 * d * c->intermediate_size * c->num_experts_per_tok;

    return 2 * (attention + d * c->num_experts + experts) + 2 * q * seqlen;
}

/* A token through all layers and the head. */
static inline double model_flops(const struct model_config *c, int seqlen) {
    return c->num_hidden_layers * layer_flops(c, seqlen) + 2.0 * c->hidden_size * c->vocab_size;
}

/* A token's share in the Hessians of one layer: 2 n^2, or half of it by symmetry, which is not
 * counted. */
static inline double hessian_flops(const struct model_config *c) {
    double d = c->hidden_size, q = model_config_q_width(c), i = c->intermediate_size;

    return 2 * (d * d + q * q + c->num_experts_per_tok * (d * d + i * i));
}

/* Factor, inverse and column loop of all matrices of one layer: n^3 / 3 each for Cholesky and
 * triangular inverse, n^2 a row for the loop. */
static inline double solver_flops(const struct model_config *c) {
    double flops = 0;

    for (int group = 0; group < N_GROUPS; group++) {
        struct group_shape shape;
        double n;

        group_shape(c, group, &shape);
        n = shape.n;
        flops += shape.G * (n * n * n * 2 / 3 + n * n * shape.rows);
    }
    return flops;
}
