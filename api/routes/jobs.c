// SPDX-License-Identifier: Apache-2.0
/* Jobs, and groups of them. */
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

/* Answers with the job or group that @get gives. */
static enum MHD_Result answer_one(struct request *request,
                                  int (*get)(void *ctx, const struct caller *caller, int64_t id,
                                             uint64_t known, json_t **ret_object,
                                             uint64_t *ret_version, struct failure *failure)) {
    cleanup(json_decrefp) json_t *object = NULL;
    uint64_t known = answer_known_version(request), version = known;
    struct failure failure = {};
    int r = get(request->api->service->ctx, &request->caller, request->job, known, &object,
                &version, &failure);

    return r ? answer_failure(request, r, &failure) : answer_versioned(request, object, version);
}

enum MHD_Result job_get(struct request *request) {
    return answer_one(request, request->api->service->job);
}

enum MHD_Result group_get(struct request *request) {
    return answer_one(request, request->api->service->group);
}

/* Has @cancel stop the job or group. */
static enum MHD_Result stop(struct request *request,
                            int (*cancel)(void *ctx, const struct caller *caller, int64_t id,
                                          json_t **ret_object, struct failure *failure)) {
    cleanup(json_decrefp) json_t *object = NULL;
    struct failure failure = {};
    int r = request_no_body(request, &failure);

    if (r == 0)
        r = cancel(request->api->service->ctx, &request->caller, request->job, &object, &failure);
    return r ? answer_failure(request, r, &failure)
             : answer_json(request, MHD_HTTP_ACCEPTED, object, NULL);
}

enum MHD_Result job_cancel(struct request *request) {
    return stop(request, request->api->service->cancel);
}

enum MHD_Result group_cancel(struct request *request) {
    return stop(request, request->api->service->cancel_group);
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
