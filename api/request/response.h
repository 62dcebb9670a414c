// SPDX-License-Identifier: Apache-2.0
/* Response objects of libmicrohttpd; each is for one answer. NULL when out of memory. */
#pragma once

#include "base/str.h"

#include <jansson.h>
#include <microhttpd.h>
#include <stddef.h>

/* response_json() - @body (borrowed) as text of @type. */
struct MHD_Response *response_json(const json_t *body, const char *type);

/* response_text() - the text that @buf holds, which is emptied, as @type. */
struct MHD_Response *response_text(struct strbuf *buf, const char *type);

/* response_static() - @size bytes at @data, which stay as they are for good. */
struct MHD_Response *response_static(const void *data, size_t size, const char *type);

/* The same as gzip, for a client that takes it, when that pays; the answer then says so. */
struct MHD_Response *response_json_packed(const json_t *body, const char *type);
struct MHD_Response *response_static_packed(const void *data, size_t size, const char *type);

struct MHD_Response *response_empty(void);

void response_header(struct MHD_Response *response, const char *name, const char *value);
