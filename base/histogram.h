// SPDX-License-Identifier: Apache-2.0
/*
 * How long things took, counted by duration: the buckets of a Prometheus histogram. Zero-initialise
 * it. Any thread.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#define HISTOGRAM_BUCKETS_MAX 16

/* Upper bounds in seconds, ascending. */
struct histogram_bounds {
    int n;
    double at[HISTOGRAM_BUCKETS_MAX];
};

extern const struct histogram_bounds histogram_of_calls;       /* 0.1 ms to 10 s */
extern const struct histogram_bounds histogram_of_jobs;        /* 1 s to a day */
extern const struct histogram_bounds histogram_of_divergences; /* nats: 0.0001 to 3 */

struct histogram {
    atomic_uint_fast64_t counts[HISTOGRAM_BUCKETS_MAX + 1]; /* the last: above all bounds */
    atomic_uint_fast64_t sum_us;
};

/* What a histogram held at one moment; not cumulative. */
struct histogram_copy {
    uint64_t counts[HISTOGRAM_BUCKETS_MAX + 1];
    double sum; /* seconds */
};

/* histogram_add() - count @seconds; less than 0, as of a clock that was set, is 0. */
void histogram_add(struct histogram *histogram, const struct histogram_bounds *bounds,
                   double seconds);

/* histogram_read() - what it holds; what is added meanwhile may be in it or not. */
struct histogram_copy histogram_read(const struct histogram *histogram);
