// SPDX-License-Identifier: Apache-2.0
#include "api/request/answer.h"
#include "api/request/api.h"
#include "api/request/response.h"
#include "api/routes/filter.h"
#include "api/routes/table.h"
#include "api/wire.h"
#include "base/cleanup.h"
#include "base/json.h"

#include <errno.h>

enum MHD_Result jobs_get(struct request *request) {
    struct service *service = request->api->service;
    cleanup(json_decrefp) json_t *list = NULL;
    uint64_t known = answer_known_version(request), version = known;
    struct failure failure = {};
    struct job_filter filter;
    int r;

    r = job_filter_take(request, &filter, &failure);
    if (r == 0)
        r = service->jobs(service->ctx, &request->caller, &filter, known, &list, &version,
                          &failure);
    if (r)
        return answer_failure(request, r, &failure);
    return answer_versioned(request, list, version);
}

enum MHD_Result job_get(struct request *request) {
    struct service *service = request->api->service;
    cleanup(json_decrefp) json_t *job = NULL;
    uint64_t known = answer_known_version(request), version = known;
    struct failure failure = {};
    int r;

    r = service->job(service->ctx, &request->caller, request->job, known, &job, &version, &failure);
    if (r)
        return answer_failure(request, r, &failure);
    return answer_versioned(request, job, version);
}

enum MHD_Result job_cancel(struct request *request) {
    struct service *service = request->api->service;
    cleanup(json_decrefp) json_t *job = NULL;
    struct failure failure = {};
    int r;

    r = request_no_body(request, &failure);
    if (r == 0)
        r = service->cancel(service->ctx, &request->caller, request->job, &job, &failure);
    if (r)
        return answer_failure(request, r, &failure);
    return answer_json(request, MHD_HTTP_ACCEPTED, job, NULL);
}

enum MHD_Result job_retry(struct request *request) {
    struct service *service = request->api->service;
    cleanup(json_decrefp) json_t *job = NULL;
    struct failure failure = {};
    const char *key = NULL;
    int r;

    r = request_key(request, &key, &failure);
    if (r == 0)
        r = request_no_body(request, &failure);
    if (r == 0)
        r = service->retry(service->ctx, &request->caller, key, request->job, &job, &failure);
    if (r)
        return answer_failure(request, r, &failure);
    return answer_submitted(request, "/v1/jobs", job);
}

enum MHD_Result job_delete(struct request *request) {
    struct service *service = request->api->service;
    struct failure failure = {};
    int r = service->remove(service->ctx, &request->caller, request->job, &failure);

    if (r)
        return answer_failure(request, r, &failure);
    return answer_response(request, MHD_HTTP_NO_CONTENT, response_empty());
}

/* Answers with a list of the job that @list gives. */
static enum MHD_Result answer_list(struct request *request,
                                   int (*list)(void *ctx, const struct caller *caller, int64_t id,
                                               json_t **ret_list, struct failure *failure)) {
    cleanup(json_decrefp) json_t *found = NULL;
    struct failure failure = {};
    int r = list(request->api->service->ctx, &request->caller, request->job, &found, &failure);

    return r ? answer_failure(request, r, &failure)
             : answer_json(request, MHD_HTTP_OK, found, NULL);
}

enum MHD_Result job_layers_get(struct request *request) {
    return answer_list(request, request->api->service->layers);
}

enum MHD_Result job_windows_get(struct request *request) {
    return answer_list(request, request->api->service->windows);
}
