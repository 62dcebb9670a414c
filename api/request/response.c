// SPDX-License-Identifier: Apache-2.0
#include "api/request/response.h"

#include "base/json.h"
#include "base/str.h"

#include <string.h>

struct MHD_Response *response_text(struct strbuf *buf, const char *type) {
    struct MHD_Response *response = NULL;

    if (!buf->failed)
        response = MHD_create_response_from_buffer(buf->length, buf->data, MHD_RESPMEM_MUST_FREE);
    if (!response) {
        strbuf_done(buf);
        return NULL;
    }
    *buf = (struct strbuf){};
    response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    return response;
}

struct MHD_Response *response_json(const json_t *body, const char *type) {
    char *text = json_text(body, JSON_COMPACT | JSON_ENCODE_ANY);
    struct strbuf buf = {.data = text, .length = text ? strlen(text) : 0};

    if (!text)
        return NULL;
    buf.capacity = buf.length + 1;
    strbuf_append(&buf, "\n", 1);
    return response_text(&buf, type);
}

struct MHD_Response *response_static(const void *data, size_t size, const char *type) {
    /* Not written to: the cast is for a parameter that serves the other modes too. */
    struct MHD_Response *response =
        MHD_create_response_from_buffer(size, (void *)(uintptr_t)data, MHD_RESPMEM_PERSISTENT);

    if (response)
        response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    return response;
}

struct MHD_Response *response_empty(void) {
    return MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
}

void response_header(struct MHD_Response *response, const char *name, const char *value) {
    /* Fails only without memory, or for bytes that no caller passes: better without the header. */
    MHD_add_response_header(response, name, value);
}
