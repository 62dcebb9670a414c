// SPDX-License-Identifier: Apache-2.0
/*
 * What stays of a solved group: its codes, packed on the device, and its grids, in the neutral
 * layer that a format makes tensors of. The thread of the backend.
 */
#pragma once

#include "daemon/pipeline/formats/codes.h"
#include "daemon/pipeline/methods/problem.h"
#include "daemon/pipeline/run.h"

/* Memory for the packed codes of a whole layer: fetched while the next thing is computed. */
struct keeper {
    struct span packed;
    size_t used; /* bytes, of the groups of this layer so far */
};

/* keeper_take() - the next array of @arena. */
void keeper_take(const struct run *run, struct arena *arena, struct keeper *ret_keeper);

/*
 * keep_group() - the parts of the solved @problem, of layer @number, go to @layer; their codes are
 * there after the next fetch_wait(). Return: 0 or -errno.
 */
int keep_group(struct keeper *keeper, int number, const struct problem *problem,
               struct layer_codes *layer);
