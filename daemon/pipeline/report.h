// SPDX-License-Identifier: Apache-2.0
/* What is reported of a solved group: a report and perhaps a warning per matrix. */
#pragma once

#include "daemon/pipeline/formats/codes.h"
#include "daemon/pipeline/methods/problem.h"
#include "daemon/pipeline/run.h"

/* Device memory of the output error. */
struct error_memory {
    struct span num, den; /* [G, rows] f32 */
    struct span scratch;
};

/*
 * report_group() - append a report per matrix of the solved @problem of @layer to the array
 * @matrices, and warn of those that did not go as asked for. @seconds: what the group took.
 * Return: 0 or -errno. The thread of the backend.
 */
int report_group(struct run *run, int layer, const struct problem *problem,
                 const struct error_memory *memory, double seconds, json_t *matrices);

/*
 * report_scales() - warn of each matrix of @layer with scales that do not fit an F16. Return: 0 or
 * -errno.
 */
int report_scales(struct run *run, const struct layer_codes *layer);
