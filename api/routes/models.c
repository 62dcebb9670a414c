// SPDX-License-Identifier: Apache-2.0
#include "api/routes.h"
#include "api/server.h"
#include "base/cleanup.h"
#include "base/json.h"

enum MHD_Result models_get(struct request *request) {
    struct service *service = request->api->service;
    cleanup(json_decrefp) json_t *list = NULL;
    struct failure failure = {};
    int r;

    r = service->models(service->ctx, &list, &failure);
    if (r)
        return request_fail(request, r, &failure);
    return request_json_answer(request, MHD_HTTP_OK, list, NULL);
}

enum MHD_Result model_delete(struct request *request) {
    struct service *service = request->api->service;
    cleanup(json_decrefp) json_t *removed = NULL;
    struct failure failure = {};
    int r;

    r = service->remove_model(service->ctx, &request->caller, request->org, request->name, &removed,
                              &failure);
    if (r)
        return request_fail(request, r, &failure);
    return request_json_answer(request, MHD_HTTP_OK, removed, NULL);
}
