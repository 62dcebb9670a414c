// SPDX-License-Identifier: Apache-2.0
/* Groups of jobs. */
#include "api/request/answer.h"
#include "api/request/api.h"
#include "api/routes/filter.h"
#include "api/routes/table.h"
#include "base/cleanup.h"
#include "base/json.h"

enum MHD_Result groups_get(struct request *request) {
    struct service *service = request->api->service;
    cleanup(json_decrefp) json_t *list = NULL;
    struct failure failure = {};
    struct groups_filter filter;
    int r = groups_filter_take(request, &filter, &failure);

    if (r == 0)
        r = service->groups(service->ctx, &request->caller, &filter, &list, &failure);
    if (r)
        return answer_failure(request, r, &failure);
    return answer_json(request, MHD_HTTP_OK, list, NULL);
}

enum MHD_Result group_get(struct request *request) {
    struct service *service = request->api->service;
    cleanup(json_decrefp) json_t *group = NULL;
    uint64_t known = answer_known_version(request), version = known;
    struct failure failure = {};
    int r = service->group(service->ctx, &request->caller, request->job, known, &group, &version,
                           &failure);

    if (r)
        return answer_failure(request, r, &failure);
    return answer_versioned(request, group, version);
}

enum MHD_Result group_cancel(struct request *request) {
    struct service *service = request->api->service;
    cleanup(json_decrefp) json_t *group = NULL;
    struct failure failure = {};
    int r = request_no_body(request, &failure);

    if (r == 0)
        r = service->cancel_group(service->ctx, &request->caller, request->job, &group, &failure);
    if (r)
        return answer_failure(request, r, &failure);
    return answer_json(request, MHD_HTTP_ACCEPTED, group, NULL);
}
