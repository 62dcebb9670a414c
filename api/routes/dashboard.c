// SPDX-License-Identifier: Apache-2.0
#include "api/dashboard/assets.h"
#include "api/header/etag.h"
#include "api/header/media.h"
#include "api/request/answer.h"
#include "api/request/response.h"
#include "api/routes/table.h"
#include "api/wire.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/*
 * The page runs what comes from here and nothing else: no inline script or style, no other host,
 * no text of the API as HTML (trusted types), no frame around it.
 */
#define POLICY                                                                                     \
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "              \
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "            \
    "require-trusted-types-for 'script'; trusted-types 'none'"

static const struct asset *find_asset(const char *name) {
    for (size_t i = 0; i < n_assets; i++)
        if (strcmp(assets[i].name, name) == 0)
            return &assets[i];
    return NULL;
}

static void put_headers(struct MHD_Response *response, const char *tag, const char *vary) {
    response_header(response, MHD_HTTP_HEADER_ETAG, tag);
    response_header(response, MHD_HTTP_HEADER_VARY, vary);
    response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-cache");
    response_header(response, "Content-Security-Policy", POLICY);
    response_header(response, "Referrer-Policy", "no-referrer");
    response_header(response, "Cross-Origin-Opener-Policy", "same-origin");
    response_header(response, "Cross-Origin-Resource-Policy", "same-origin");
}

static enum MHD_Result answer_asset(struct request *request, const struct asset *asset,
                                    const char *vary) {
    bool packed = media_asks(request_header(request, MHD_HTTP_HEADER_ACCEPT_ENCODING), "gzip");
    const char *tag = packed ? asset->packed_tag : asset->tag;
    bool known = etag_matches(request_header(request, MHD_HTTP_HEADER_IF_NONE_MATCH), tag);
    struct MHD_Response *response;

    if (known)
        response = response_empty();
    else if (packed)
        response = response_static(asset->packed, asset->packed_size, asset->type);
    else
        response = response_static(asset->data, asset->size, asset->type);
    if (response)
        put_headers(response, tag, vary);
    if (response && packed && !known)
        response_header(response, MHD_HTTP_HEADER_CONTENT_ENCODING, "gzip");
    return answer_response(request, known ? MHD_HTTP_NOT_MODIFIED : MHD_HTTP_OK, response);
}

/* The dashboard when the client asks for HTML, as browsers do; lines of text for a shell. */
enum MHD_Result root_get(struct request *request) {
    static const char text[] =
        "quantd " QUANTD_VERSION ": quantizes OLMoE models on this machine.\n"
        "\n"
        "  quantctl list                       from a shell\n"
        "  curl -s http://HOST:PORT/v1/jobs    from a script\n"
        "  http://HOST:PORT/                   from a browser\n"
        "\n"
        "  /openapi.json   everything that can be asked\n"
        "  /v1/jobs        the queue\n"
        "  /v1/events      what happens, as server-sent events\n"
        "  /v1/devices     what it runs on\n"
        "  /healthz        whether it works\n"
        "  /readyz         whether jobs can run\n"
        "  /metrics        numbers for Prometheus\n";
    const struct asset *page = find_asset("index.html");
    struct MHD_Response *response;

    if (page && media_asks(request_header(request, MHD_HTTP_HEADER_ACCEPT), WIRE_HTML))
        return answer_asset(request, page, "Accept, Accept-Encoding");
    response = response_static(text, sizeof(text) - 1, "text/plain; charset=utf-8");
    if (response)
        response_header(response, MHD_HTTP_HEADER_VARY, "Accept, Accept-Encoding");
    return answer_response(request, MHD_HTTP_OK, response);
}

enum MHD_Result asset_get(struct request *request) {
    char name[2 * REQUEST_NAME_SIZE];
    const struct asset *asset;
    struct failure failure = {};

    snprintf(name, sizeof(name), "%s%s%s", request->folder, request->folder[0] ? "/" : "",
             request->name);
    asset = find_asset(name);
    if (asset)
        return answer_asset(request, asset, "Accept-Encoding");
    failure_set(&failure, -ENOENT, "not_found", "see / for the dashboard",
                "the dashboard has no file '%s'", name);
    return answer_failure(request, -ENOENT, &failure);
}
