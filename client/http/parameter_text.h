// SPDX-License-Identifier: Apache-2.0
/* The value of a parameter of a job, for people. One thread. */
#pragma once

#include <jansson.h>

/*
 * parameter_text() - "yes", "0.5", "wikitext2, ptb", "self_attn:wbits=8"; of a list its elements
 * with commas between them; "" when @value is NULL or null.
 * Return: a string of the caller; NULL when out of memory.
 */
json_t *parameter_text(const json_t *value);
