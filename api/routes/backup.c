// SPDX-License-Identifier: Apache-2.0
#include "api/request/answer.h"
#include "api/request/api.h"
#include "api/routes/table.h"
#include "base/cleanup.h"
#include "base/json.h"

enum MHD_Result backup_post(struct request *request) {
    struct service *service = request->api->service;
    cleanup(json_decrefp) json_t *state = NULL;
    struct failure failure = {};
    int r = request_no_body(request, &failure);

    if (r == 0)
        r = service->backup(service->ctx, &request->caller, &state, &failure);
    if (r)
        return answer_failure(request, r, &failure);
    return answer_json(request, MHD_HTTP_ACCEPTED, state, NULL);
}

enum MHD_Result backup_get(struct request *request) {
    struct service *service = request->api->service;
    cleanup(json_decrefp) json_t *state = NULL;
    struct failure failure = {};
    int r;

    r = service->backup_state(service->ctx, &state, &failure);
    if (r)
        return answer_failure(request, r, &failure);
    return answer_json(request, MHD_HTTP_OK, state, NULL);
}
