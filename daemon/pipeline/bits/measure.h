// SPDX-License-Identifier: Apache-2.0
/*
 * How much each unit minds each candidate: the Kullback-Leibler divergence between the model and
 * the model with that unit alone quantized by the job's method (bits/candidates.h), on some
 * calibration windows; and that of all units at once, which tells what adding up gets wrong. All
 * trials go through the layers side by side: one begins at the layer whose weights it changes, from
 * the hidden states of the model. The thread of the backend.
 */
#pragma once

#include "daemon/pipeline/params/units.h"
#include "daemon/pipeline/run.h"

/* Divergences are means over the tokens of the windows, nats. */
struct measured {
    double *kl;                  /* [units, candidates]: of one unit alone */
    double alike[UNIT_BITS_MAX]; /* of all units at a candidate */
    double
        *shares; /* [items, candidates]: of an item in the divergence of its unit, by its error */
};

/* measured_init() - get the arrays. Return: 0 or -ENOMEM. */
int measured_init(struct measured *measured, const struct units *units);
void measured_done(struct measured *measured);

/* measure_windows() - calibration windows that a trial looks at. */
int measure_windows(const struct run *run);

/* measure_size() - bytes of device memory; SIZE_MAX when they do not fit. */
size_t measure_size(const struct run *run);

/* measure_work() - units of progress. */
double measure_work(const struct run *run, const struct units *units);

/* measure_units() - fill *@ret. Return: 0 or -errno. */
int measure_units(struct run *run, const struct units *units, struct measured *ret);
