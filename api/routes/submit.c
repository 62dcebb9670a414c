// SPDX-License-Identifier: Apache-2.0
/* What is asked for by a body: a job or a group of jobs, or what it would take. */
#include "api/request/answer.h"
#include "api/request/api.h"
#include "api/routes/table.h"
#include "base/cleanup.h"
#include "base/json.h"

/* Answers with what @submit appended, below @folder. */
static enum MHD_Result answer_submit(struct request *request, const char *folder,
                                     int (*submit)(void *ctx, const struct caller *caller,
                                                   const char *key, const json_t *body,
                                                   json_t **ret_object, bool *ret_created,
                                                   struct failure *failure)) {
    cleanup(json_decrefp) json_t *body = NULL, *object = NULL;
    struct failure failure = {};
    const char *key = NULL;
    bool created = false;
    int r = request_key(request, &key, &failure);

    if (r == 0)
        r = request_json(request, &body, &failure);
    if (r == 0)
        r = submit(request->api->service->ctx, &request->caller, key, body, &object, &created,
                   &failure);
    return r ? answer_failure(request, r, &failure) : answer_submitted(request, folder, object);
}

enum MHD_Result jobs_post(struct request *request) {
    return answer_submit(request, "/v1/jobs", request->api->service->submit);
}

enum MHD_Result groups_post(struct request *request) {
    return answer_submit(request, "/v1/groups", request->api->service->submit_group);
}

static enum MHD_Result answer_estimate(struct request *request,
                                       int (*estimate)(void *ctx, const struct caller *caller,
                                                       const json_t *body, json_t **ret_estimate,
                                                       struct failure *failure)) {
    cleanup(json_decrefp) json_t *body = NULL, *found = NULL;
    struct failure failure = {};
    int r = request_json(request, &body, &failure);

    if (r == 0)
        r = estimate(request->api->service->ctx, &request->caller, body, &found, &failure);
    return r ? answer_failure(request, r, &failure)
             : answer_json(request, MHD_HTTP_OK, found, NULL);
}

enum MHD_Result estimate_post(struct request *request) {
    return answer_estimate(request, request->api->service->estimate);
}

enum MHD_Result group_estimate_post(struct request *request) {
    return answer_estimate(request, request->api->service->estimate_group);
}
