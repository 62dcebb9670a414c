// SPDX-License-Identifier: Apache-2.0
/*
 * Puts the matrices of one group on their grids: GPTQ where the calibration allows it, else round
 * to nearest, with the reason. The thread of the backend.
 */
#pragma once

#include "daemon/pipeline/run.h"
#include "daemon/pipeline/shard.h"

/* What calibration gathered about the inputs of one group. */
struct gram {
    struct span h;         /* [G, n, n] f32, lower triangle: sum of x'x */
    uint64_t *tokens;      /* [G]: rows of x seen by each stack; owned */
    uint64_t least_tokens; /* stacks that saw fewer are rounded to nearest */
};

/* Device memory that serves every group in turn; nothing in it lasts beyond the layer. */
struct solver {
    struct olmoe_codes codes;
    struct span packed;   /* a whole layer's codes: fetched while the next thing is computed */
    size_t packed_used;   /* bytes, of the groups of this layer so far */
    struct span u;        /* [G, n, n] f32 */
    struct span perm;     /* [G, n] i32 */
    struct span dq;       /* [G, rows, n] act */
    struct span num, den; /* [G, rows] f32 */
    struct span scratch;
};

/* solver_size() - bytes of device memory; SIZE_MAX when they do not fit. */
size_t solver_size(const struct run *run);
/* solver_init() - lay it out in @memory of solver_size() bytes, which is borrowed. */
void solver_init(struct solver *solver, const struct run *run, struct span memory);

/* solver_begin_layer() - the layer before has been fetched: its memory may be used again. */
void solver_begin_layer(struct solver *solver);

/*
 * solver_group() - quantize @group of @layer: its matrices in @weights become what the grid can
 * say, their packed form goes to @shard and a report of each to the array @matrices. The packed
 * codes are in the shard after the next fetch_wait(). @gram NULL: no calibration, all is rounded
 * to nearest. Return: 0 or -errno.
 */
int solver_group(struct solver *solver, struct run *run, int layer, enum group group,
                 struct span weights, const struct gram *gram, struct shard *shard,
                 json_t *matrices);
