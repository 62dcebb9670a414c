// SPDX-License-Identifier: Apache-2.0
/* JSON as Python's json module writes it, which is more than JSON. */
#pragma once

#include "base/json.h"

/*
 * json_parse_python() - json_parse_file_in(), and NaN, Infinity and numbers beyond a double or 64
 * bits become strings that nothing else is, so that no reader takes them for a number; half a
 * surrogate pair, or U+0000 or U+0001, in a string becomes U+FFFD. Any thread.
 */
int json_parse_python(const char *root, const char *path, size_t max, const char *code,
                      json_t **ret_value, struct failure *failure);

/* json_text_python() - json_text(), with such strings as they were. The caller owns it. */
char *json_text_python(const json_t *value, size_t flags);
