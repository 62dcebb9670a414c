// SPDX-License-Identifier: Apache-2.0
/*
 * Reading what the daemon answers. It is not trusted: a member that is missing or of another type
 * reads as empty. Any thread.
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

/* answer_text() - the string member @key, "" when there is none; borrowed, not cleaned. */
const char *answer_text(const json_t *object, const char *key);

/* answer_number() - the number @key, NAN when there is none. */
double answer_number(const json_t *object, const char *key);

/* answer_int() - the integer @key, @fallback when there is none. */
int64_t answer_int(const json_t *object, const char *key, int64_t fallback);

/* answer_time() - the RFC 3339 time @key in seconds since 1970, NAN when there is none. */
double answer_time(const json_t *object, const char *key);
