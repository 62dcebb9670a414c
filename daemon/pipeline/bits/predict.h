// SPDX-License-Identifier: Apache-2.0
/*
 * The divergence of a choice, from what its units cause alone. They do not quite add up; how far
 * not, is measured where all units are alike, and interpolated between. Pure functions; any thread.
 */
#pragma once

#include "daemon/pipeline/params/units.h"

struct prediction {
    double sum[UNIT_BITS_MAX]; /* growing; of the units alone, all at one candidate */
    double all[UNIT_BITS_MAX]; /* growing; of all units at once there */
    int n;
};

/*
 * prediction_make() - from @sum and @all [n], in the order of candidates with more and more bits. A
 * point that does not fit a growing curve is left out.
 */
void prediction_make(const double *sum, const double *all, int n, struct prediction *ret);

/*
 * prediction_at() - the divergence of a choice whose units cause @sum alone. It grows with @sum:
 * linear between the logarithms of the points, in proportion beyond them.
 */
double prediction_at(const struct prediction *prediction, double sum);
