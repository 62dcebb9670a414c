// SPDX-License-Identifier: Apache-2.0
/*
 * What calibration gathers about the inputs of all groups of a layer: a Hessian of each stack and,
 * against drift, how the inputs differ from the original's. The thread of the backend.
 */
#pragma once

#include "daemon/pipeline/methods/problem.h"
#include "daemon/pipeline/run.h"

struct grams {
    struct span all; /* what the spans of the others are in */
    struct gram of[N_GROUPS];
};

/* grams_size() - bytes of device memory; @drift: with the difference of the inputs. */
size_t grams_size(const struct run *run, bool drift);

/* grams_init() - for @windows calibration windows. Return: 0 or -errno. */
int grams_init(struct grams *grams, const struct run *run, int windows, bool drift);
void grams_done(struct grams *grams, struct backend *b);

/* grams_clear() - begin again with the groups from @first to @last. */
int grams_clear(struct grams *grams, const struct run *run, enum group first, enum group last);

/* grams_add() - what a forward_tap is given for @group. */
int grams_add(struct grams *grams, const struct run *run, enum group group, struct span x,
              struct span x0, const int32_t *offsets);
