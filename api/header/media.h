// SPDX-License-Identifier: Apache-2.0
/* Media types in the headers Accept and Content-Type. Any thread. */
#pragma once

#include <stdbool.h>

/* media_is() - is the Content-Type @value (NULL: none sent) @type, whatever its parameters? */
bool media_is(const char *value, const char *type);

/* media_accepts() - may the answer be of @type, by the Accept header @accept (NULL: anything)? */
bool media_accepts(const char *accept, const char *type);

/* media_asks() - does @accept name just @type, not by a wildcard? */
bool media_asks(const char *accept, const char *type);
