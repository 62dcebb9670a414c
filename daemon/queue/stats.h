// SPDX-License-Identifier: Apache-2.0
/* What the queue counts since the daemon started. Zero-initialise; any thread. */
#pragma once

#include "base/histogram.h"

struct stats {
    struct histogram wait;       /* from a job's submission to its first start */
    struct histogram run;        /* from there to its end */
    struct histogram divergence; /* mean of each set of a job that succeeded, nats */
    atomic_uint_fast64_t n_layers, n_tokens;
};
