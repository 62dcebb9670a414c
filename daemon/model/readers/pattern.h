// SPDX-License-Identifier: Apache-2.0
/* Regular expressions of a quantization_config: hostile ones, over names of modules. Any thread. */
#pragma once

#include <stdbool.h>

struct pattern;

/* pattern_new() - compile @regex; the caller owns it. Return: 0, -EINVAL or -ENOMEM. */
int pattern_new(const char *regex, struct pattern **ret_pattern);
void pattern_free(struct pattern *pattern); /* NULL is fine */

/*
 * pattern_match() - does a match begin where @name begins? As Python's re.match() has it.
 * Return: 0, -EINVAL (it takes too long) or -ENOMEM.
 */
int pattern_match(const struct pattern *pattern, const char *name, bool *ret_matches);
