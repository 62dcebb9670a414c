// SPDX-License-Identifier: Apache-2.0
#include "api/request/answer.h"
#include "api/request/api.h"
#include "api/request/response.h"
#include "api/routes/table.h"
#include "api/wire.h"
#include "base/cleanup.h"
#include "base/json.h"

#include <stdio.h>

enum MHD_Result whoami_get(struct request *request) {
    static const char *const auths[] = {
        [AUTH_NONE] = "none", [AUTH_PEER] = "peer", [AUTH_TOKEN] = "token"};
    const struct caller *caller = &request->caller;
    cleanup(json_decrefp) json_t *body =
        json_pack("{s:s, s:s, s:s, s:s}", "object", "caller", "owner", caller->owner, "role",
                  role_name(caller->role), "auth", auths[caller->auth]);
    struct failure failure = {};

    if (!body)
        return answer_failure(request, failure_oom(&failure), &failure);
    return answer_json(request, MHD_HTTP_OK, body, NULL);
}

enum MHD_Result tokens_get(struct request *request) {
    struct service *service = request->api->service;
    cleanup(json_decrefp) json_t *list = NULL;
    struct failure failure = {};
    int r = service->tokens(service->ctx, &list, &failure);

    if (r)
        return answer_failure(request, r, &failure);
    return answer_json(request, MHD_HTTP_OK, list, NULL);
}

/* The one time that the token is shown: no cache on the way may keep it. */
static enum MHD_Result answer_created(struct request *request, const json_t *token) {
    struct MHD_Response *response = response_json(token, WIRE_JSON);
    const char *name = json_string_value(json_object_get(token, "name"));
    char location[REQUEST_NAME_SIZE + 16];

    if (response) {
        snprintf(location, sizeof(location), "/v1/tokens/%s", name ? name : "");
        response_header(response, MHD_HTTP_HEADER_LOCATION, location);
        response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    }
    return answer_response(request, MHD_HTTP_CREATED, response);
}

enum MHD_Result tokens_post(struct request *request) {
    struct service *service = request->api->service;
    cleanup(json_decrefp) json_t *body = NULL, *token = NULL;
    struct failure failure = {};
    int r = request_json(request, &body, &failure);

    if (r == 0)
        r = service->create_token(service->ctx, &request->caller, body, &token, &failure);
    if (r)
        return answer_failure(request, r, &failure);
    return answer_created(request, token);
}

enum MHD_Result token_delete(struct request *request) {
    struct service *service = request->api->service;
    struct failure failure = {};
    int r = service->revoke_token(service->ctx, &request->caller, request->name, &failure);

    if (r)
        return answer_failure(request, r, &failure);
    return answer_response(request, MHD_HTTP_NO_CONTENT, response_empty());
}
