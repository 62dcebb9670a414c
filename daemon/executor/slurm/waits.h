// SPDX-License-Identifier: Apache-2.0
/* What the jobs of a cluster wait for there, as the list of its jobs says. Any thread. */
#pragma once

#include "daemon/store/runs.h"

#include <jansson.h>

#define WAITS_MAX 8 /* reasons that are counted each; jobs with others are counted as "other" */

/* Starts as zero. */
struct waits {
    struct {
        char reason[sizeof(((struct run_news *)NULL)->reason)];
        int n;
    } at[WAITS_MAX + 1];
    int n;
    int64_t next_start; /* ms since 1970: when the next is expected to start; 0: not known */
};

/* waits_add() - a run with @news waits; what was expected before @now (ms) is not expected. */
void waits_add(struct waits *waits, const struct run_news *news, int64_t now);

/* waits_reasons() - {reason: number of runs}; NULL: out of memory. */
json_t *waits_reasons(const struct waits *waits);
