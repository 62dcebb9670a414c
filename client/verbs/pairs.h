// SPDX-License-Identifier: Apache-2.0
/* Two jobs that measured the same windows, compared window by window. One thread. */
#pragma once

#include "client/client.h"

#include <jansson.h>

/*
 * pairs_get() - what @job has measured, window by window; owned by the caller. An empty list of a
 * daemon that does not know. Return: 0 or what http.h says.
 */
int pairs_get(struct client *client, const json_t *job, json_t **ret_windows,
              struct failure *failure);

/*
 * pairs_ratio() - the logarithm of the perplexity of @b over that of @a on @set, NAN when they did
 * not measure the same windows; *ret_error is its standard error, over windows.
 */
double pairs_ratio(const json_t *a, const json_t *b, const char *set, double *ret_error);
