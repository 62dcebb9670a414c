// SPDX-License-Identifier: Apache-2.0
/* The parameters of jobs, as tables show them. One thread. */
#pragma once

#include "client/http/parameter_text.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct parameter {
    const char *key, *title;
    const char *absent; /* the value that does what a job without the parameter does; or NULL */
};

/* parameter_at() - number @i of all of them, in the order of columns; NULL: no more. */
const struct parameter *parameter_at(size_t i);

/* parameter_title() - what tables call the parameter @key; @key when none has this name. */
const char *parameter_title(const char *key);

/*
 * parameter_differs() - do two jobs differ in the parameter @key? One that is off, 0 or empty is
 * like one that is missing, as in jobs of before the parameter.
 */
bool parameter_differs(const char *key, const json_t *a, const json_t *b);
