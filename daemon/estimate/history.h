// SPDX-License-Identifier: Apache-2.0
/* How long jobs took on a kind of device, by the store. Any thread, outside a transaction. */
#pragma once

#include "daemon/pipeline/estimate/estimate.h"

#include <jansson.h>

/* Seconds that a job will take, and from how many jobs that is known. */
struct forecast {
    double seconds;
    int jobs;        /* of the phase that fewest are known of */
    bool same_model; /* they had the shape of its model; else they are scaled by size */
};

/*
 * history_forecast() - by @runs, as store_list_runs() gives them: those that ran on one of @devices
 * (an array of their ids). Jobs of a model of the same shape count alone when there are any.
 * Return: 0; -ENOENT: nothing comparable has run, *ret_reason (static) says what is missing.
 */
int history_forecast(const json_t *runs, const json_t *devices, const struct work_shape *shape,
                     struct forecast *ret_forecast, const char **ret_reason);
