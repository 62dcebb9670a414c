// SPDX-License-Identifier: Apache-2.0
#include "base/histogram.h"

#include "base/macros.h"

#define SECONDS_MAX 1e12 /* what the sum of many still has room for */

const struct histogram_bounds histogram_of_calls = {
    15,
    {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10}};

const struct histogram_bounds histogram_of_jobs = {
    14, {1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400}};

const struct histogram_bounds histogram_of_divergences = {
    12, {0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 1, 3}};

void histogram_add(struct histogram *histogram, const struct histogram_bounds *bounds,
                   double seconds) {
    int i = 0;

    /* Written so that no number counts as 0, too. */
    if (!(seconds > 0))
        seconds = 0;
    while (i < bounds->n && seconds > bounds->at[i])
        i++;
    atomic_fetch_add(&histogram->counts[i < bounds->n ? i : HISTOGRAM_BUCKETS_MAX], 1);
    atomic_fetch_add(&histogram->sum_us, (uint64_t)(MIN(seconds, SECONDS_MAX) * 1e6));
}

struct histogram_copy histogram_read(const struct histogram *histogram) {
    struct histogram_copy copy;

    for (int i = 0; i <= HISTOGRAM_BUCKETS_MAX; i++)
        copy.counts[i] = atomic_load(&histogram->counts[i]);
    copy.sum = (double)atomic_load(&histogram->sum_us) / 1e6;
    return copy;
}
