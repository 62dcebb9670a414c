// SPDX-License-Identifier: Apache-2.0
#include "api/request/answer.h"
#include "api/request/api.h"
#include "api/routes/table.h"
#include "base/cleanup.h"
#include "base/json.h"

enum MHD_Result models_get(struct request *request) {
    struct service *service = request->api->service;
    cleanup(json_decrefp) json_t *list = NULL;
    struct failure failure = {};
    int r;

    r = service->models(service->ctx, &list, &failure);
    if (r)
        return answer_failure(request, r, &failure);
    return answer_json(request, MHD_HTTP_OK, list, NULL);
}

enum MHD_Result datasets_get(struct request *request) {
    struct service *service = request->api->service;
    cleanup(json_decrefp) json_t *list = NULL;
    struct failure failure = {};
    int r = service->datasets(service->ctx, &list, &failure);

    if (r)
        return answer_failure(request, r, &failure);
    return answer_json(request, MHD_HTTP_OK, list, NULL);
}

enum MHD_Result model_delete(struct request *request) {
    struct service *service = request->api->service;
    cleanup(json_decrefp) json_t *removed = NULL;
    struct failure failure = {};
    int r;

    r = service->remove_model(service->ctx, &request->caller, request->folder, request->name,
                              &removed, &failure);
    if (r)
        return answer_failure(request, r, &failure);
    return answer_json(request, MHD_HTTP_OK, removed, NULL);
}
