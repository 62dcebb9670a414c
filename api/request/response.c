// SPDX-License-Identifier: Apache-2.0
#include "api/request/response.h"

#include "api/request/gzip.h"
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

/* @body as a line of text; without data when out of memory. */
static struct strbuf json_line(const json_t *body) {
    char *text = json_text(body, JSON_COMPACT | JSON_ENCODE_ANY);
    struct strbuf buf = {.data = text, .length = text ? strlen(text) : 0};

    if (text) {
        buf.capacity = buf.length + 1;
        strbuf_append(&buf, "\n", 1);
    }
    return buf;
}

struct MHD_Response *response_json(const json_t *body, const char *type) {
    struct strbuf buf = json_line(body);

    return buf.data ? response_text(&buf, type) : NULL;
}

/* The text of @buf, which is emptied, as gzip; as it is when that fails or does not pay. */
static struct MHD_Response *pack(struct strbuf *buf, const char *type) {
    struct MHD_Response *response;
    struct strbuf packed = {};

    if (buf->failed || !gzip_pays(buf->length) || gzip_pack(buf->data, buf->length, &packed))
        return response_text(buf, type);
    strbuf_done(buf);
    response = response_text(&packed, type);
    if (response)
        response_header(response, MHD_HTTP_HEADER_CONTENT_ENCODING, "gzip");
    return response;
}

struct MHD_Response *response_json_packed(const json_t *body, const char *type) {
    struct strbuf buf = json_line(body);

    return buf.data ? pack(&buf, type) : NULL;
}

struct MHD_Response *response_static_packed(const void *data, size_t size, const char *type) {
    struct MHD_Response *response;
    struct strbuf packed = {};

    if (!gzip_pays(size) || gzip_pack(data, size, &packed))
        return response_static(data, size, type);
    response = response_text(&packed, type);
    if (response)
        response_header(response, MHD_HTTP_HEADER_CONTENT_ENCODING, "gzip");
    return response;
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
