// SPDX-License-Identifier: Apache-2.0
#include "api/header/etag.h"
#include "api/openapi.h"
#include "api/request/answer.h"
#include "api/request/api.h"
#include "api/request/response.h"
#include "api/routes/table.h"
#include "api/wire.h"
#include "base/cleanup.h"
#include "base/json.h"

#include <errno.h>
#include <string.h>

enum MHD_Result openapi_get(struct request *request) {
    char tag[ETAG_SIZE];

    etag_of_version(request->api->boot, 0, tag);
    if (etag_matches(request_header(request, MHD_HTTP_HEADER_IF_NONE_MATCH), tag))
        return answer_json_not_modified(request, tag);
    return answer_static(request, openapi_json, openapi_json_size, tag);
}

enum MHD_Result version_get(struct request *request) {
    cleanup(json_decrefp) json_t *body =
        json_pack("{s:s, s:s, s:s, s:s}", "object", "version", "name", "quantd", "version",
                  QUANTD_VERSION, "api", "v1");
    struct failure failure = {};

    if (!body)
        return answer_failure(request, failure_oom(&failure), &failure);
    return answer_json(request, MHD_HTTP_OK, body, NULL);
}

enum MHD_Result devices_get(struct request *request) {
    struct service *service = request->api->service;
    cleanup(json_decrefp) json_t *list = NULL;
    struct failure failure = {};
    int r;

    r = service->devices(service->ctx, &list, &failure);
    if (r)
        return answer_failure(request, r, &failure);
    return answer_json(request, MHD_HTTP_OK, list, NULL);
}

enum MHD_Result status_get(struct request *request) {
    struct service *service = request->api->service;
    cleanup(json_decrefp) json_t *status = NULL;
    struct failure failure = {};
    int r;

    r = service->status(service->ctx, &status, &failure);
    if (r)
        return answer_failure(request, r, &failure);
    return answer_json(request, MHD_HTTP_OK, status, NULL);
}

enum MHD_Result health_get(struct request *request) {
    struct service *service = request->api->service;
    cleanup(json_decrefp) json_t *health = NULL;
    struct failure failure = {};
    int r;

    r = service->health(service->ctx, &health, &failure);
    if (r)
        return answer_failure(request, r, &failure);
    return answer_json(request, MHD_HTTP_OK, health, NULL);
}

enum MHD_Result ready_get(struct request *request) {
    struct service *service = request->api->service;
    cleanup(json_decrefp) json_t *ready = NULL;
    struct failure failure = {};
    int r;

    r = service->ready(service->ctx, &ready, &failure);
    if (r)
        return answer_failure(request, r, &failure);
    return answer_json(request, MHD_HTTP_OK, ready, NULL);
}
