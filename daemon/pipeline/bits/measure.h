// SPDX-License-Identifier: Apache-2.0
/*
 * How much each unit minds each candidate: the Kullback-Leibler divergence between the model and
 * the model with that unit alone rounded to nearest (grid: mse), on some calibration windows. All
 * trials go through the layers side by side: one begins at the layer whose weights it changes, from
 * the hidden states of the model. The thread of the backend.
 */
#pragma once

#include "daemon/pipeline/bits/choose.h"
#include "daemon/pipeline/run.h"

/* measure_windows() - calibration windows that a trial looks at. */
int measure_windows(const struct run *run);

/* measure_size() - bytes of device memory; SIZE_MAX when they do not fit. */
size_t measure_size(const struct run *run);

/* measure_work() - units of progress. */
double measure_work(const struct run *run, const struct units *units);

/*
 * measure_units() - set kl of @ret [units->n]: the mean over the tokens of the windows, nats.
 * Return: 0 or -errno.
 */
int measure_units(struct run *run, const struct units *units, struct choice_unit *ret);
