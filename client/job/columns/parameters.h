// SPDX-License-Identifier: Apache-2.0
/* The parameters of jobs, as tables show them. One thread. */
#pragma once

#include "client/http/parameter_text.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct parameter {
    const char *key, *title;
};

/* parameter_at() - number @i of all of them, in the order of columns; NULL: no more. */
const struct parameter *parameter_at(size_t i);

/*
 * parameter_differs() - do two jobs differ in it? One that is off, 0 or empty is like one that is
 * missing, as in jobs of before the parameter.
 */
bool parameter_differs(const json_t *a, const json_t *b);
