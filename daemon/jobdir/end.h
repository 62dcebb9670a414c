// SPDX-License-Identifier: Apache-2.0
/* How a run of a job ended, as its executor reports it. Any thread. */
#pragma once

#include "base/failure.h"

#include <jansson.h>

enum run_how {
    RUN_SUCCEEDED,
    RUN_STOPPED, /* before its end, because it was asked to */
    RUN_FAILED,
};

struct run_end {
    enum run_how how;
    json_t *result;         /* of pipeline_run(); owned; NULL unless it succeeded */
    struct failure failure; /* empty when it succeeded */
    bool device_failed;     /* only a new process can use the device again */
};

/*
 * run_end_make() - what pipeline_run() left: @r, its @result (taken) and @failure (borrowed). To be
 * freed with run_end_done().
 */
struct run_end run_end_make(int r, json_t *result, const struct failure *failure,
                            bool device_failed);
void run_end_done(struct run_end *end);

/* run_end_to_json() - {how, result, error, device_failed}; NULL: no memory. */
json_t *run_end_to_json(const struct run_end *end);

/*
 * run_end_from_json() - its inverse, on hostile input. *ret_end is to be freed with run_end_done().
 * Return: 0; -EBADMSG or -ENOMEM with the failure.
 */
int run_end_from_json(const json_t *json, struct run_end *ret_end, struct failure *failure);
