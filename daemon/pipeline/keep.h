// SPDX-License-Identifier: Apache-2.0
/*
 * What stays of a solved group: its codes, packed on the device, and its grids. They are fetched
 * while the next thing is computed, and become the matrices of a neutral layer afterwards, of which
 * a format makes tensors.
 */
#pragma once

#include "daemon/pipeline/formats/codes.h"
#include "daemon/pipeline/methods/problem.h"
#include "daemon/pipeline/run.h"

/* Memory of the device for a whole layer. */
struct keeper {
    struct span memory;
    size_t used; /* bytes, of the groups of this layer so far */
};

/* A solved group on the host; its arrays are rooms of the layer's shard. */
struct kept_group {
    struct group_shape shape;
    struct grid grid;
    int n_groups;
    const unsigned char *words; /* of all parts, one after the other */
    const uint16_t *scales;     /* [G, n_groups, rows] */
    const uint8_t *zeros;       /* likewise */
    const int32_t *g_idx;       /* [G, n] */
    const uint16_t *d, *dmin; /* [G, n / GRID_SUPER, rows], or NULL: as struct quantized has them */
    const uint16_t *weights;  /* bf16 [G, rows, n]; NULL: nothing is made of them */
};

/* A layer in the making. Zero-initialise. */
struct kept_layer {
    struct layer_codes codes;
    struct kept_group *groups; /* owned; those that are not matrices of the codes yet */
    size_t n_groups, capacity;
    size_t weights_size; /* bytes of the weights of all groups */
};

void kept_layer_done(struct kept_layer *layer);

/* keeper_size() - bytes of device memory. */
size_t keeper_size(const struct run *run);

/*
 * keep_group() - queue what there is of the solved @problem to the host; it is there after the next
 * fetch_wait(). Return: 0 or -errno. The thread of the backend.
 */
int keep_group(struct keeper *keeper, const struct problem *problem, struct kept_layer *layer);

/*
 * keep_weights() - queue what the codes of the last group stand for, act [G, rows, n] in @weights,
 * to the host likewise; they stay as they are until then. Return: 0 or -errno.
 */
int keep_weights(const struct problem *problem, struct span weights, struct kept_layer *layer);

/*
 * keep_finish() - after fetch_wait(): the groups become matrices, of layer @number. Return: 0 or
 * -ENOMEM with the failure. Any thread.
 */
int keep_finish(struct kept_layer *layer, int number, struct failure *failure);
