// SPDX-License-Identifier: Apache-2.0
/* Folders of jobs that have no job. */
#include "api/request/answer.h"
#include "api/request/api.h"
#include "api/routes/table.h"
#include "base/cleanup.h"
#include "base/json.h"

#include <errno.h>

#define LIMIT_MAX 100
#define LIMIT_DEFAULT 50

enum MHD_Result orphans_get(struct request *request) {
    struct service *service = request->api->service;
    cleanup(json_decrefp) json_t *list = NULL;
    struct failure failure = {};
    uint64_t after, limit;
    int r;

    r = request_query_u64(request, "after", 0, INT64_MAX, 0, &after, &failure);
    if (!r)
        r = request_query_u64(request, "limit", 1, LIMIT_MAX, LIMIT_DEFAULT, &limit, &failure);
    if (!r)
        r = service->orphans(service->ctx, (int64_t)after, (int)limit, &list, &failure);
    if (r)
        return answer_failure(request, r, &failure);
    return answer_json(request, MHD_HTTP_OK, list, NULL);
}

/* The body; {} when there is none. */
static int take_body(const struct request *request, json_t **ret_body, struct failure *failure) {
    if (request->body.length)
        return request_json(request, ret_body, failure);
    *ret_body = json_object();
    return *ret_body ? 0 : failure_oom(failure);
}

enum MHD_Result orphan_adopt_post(struct request *request) {
    struct service *service = request->api->service;
    cleanup(json_decrefp) json_t *body = NULL, *state = NULL;
    struct failure failure = {};
    bool adopted = false;
    int r = take_body(request, &body, &failure);

    if (!r && !json_is_object(body))
        r = failure_set(&failure, -EINVAL, "invalid_parameter", "send {} or {\"owner\": NAME}",
                        "the body is not an object");
    if (!r)
        r = service->adopt(service->ctx, &request->caller, request->job, body, &state, &adopted,
                           &failure);
    if (r)
        return answer_failure(request, r, &failure);
    return answer_json(request, adopted ? MHD_HTTP_OK : MHD_HTTP_ACCEPTED, state, NULL);
}
