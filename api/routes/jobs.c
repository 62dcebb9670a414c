// SPDX-License-Identifier: Apache-2.0
#include "api/header/etag.h"
#include "api/request/answer.h"
#include "api/request/api.h"
#include "api/request/caller.h"
#include "api/request/response.h"
#include "api/routes/filter.h"
#include "api/routes/table.h"
#include "api/wire.h"
#include "base/cleanup.h"
#include "base/json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define KEY_MAX 128

/* NULL: no key; else it must be short and printable. */
static int take_key(const struct request *request, const char **ret_key, struct failure *failure) {
    const char *key = request_header(request, "Idempotency-Key");

    if (key && (!*key || strlen(key) > KEY_MAX))
        return failure_field(failure, "Idempotency-Key", NULL, "must have 1 to %d characters",
                             KEY_MAX);
    for (const char *s = key; s && *s; s++)
        if (*s < ' ' || *s > '~')
            return failure_field(failure, "Idempotency-Key", NULL, "must be printable ASCII");
    *ret_key = key;
    return 0;
}

static enum MHD_Result answer_submitted(struct request *request, const json_t *job) {
    struct MHD_Response *response = response_json(job, WIRE_JSON);
    char location[48];

    if (response) {
        snprintf(location, sizeof(location), "/v1/jobs/%" JSON_INTEGER_FORMAT,
                 json_integer_value(json_object_get(job, "id")));
        response_header(response, MHD_HTTP_HEADER_LOCATION, location);
    }
    return answer_response(request, MHD_HTTP_ACCEPTED, response);
}

enum MHD_Result jobs_post(struct request *request) {
    struct service *service = request->api->service;
    cleanup(json_decrefp) json_t *body = NULL, *job = NULL;
    struct failure failure = {};
    const char *key = NULL;
    bool created = false;
    int r;

    r = take_key(request, &key, &failure);
    if (r == 0)
        r = request_json(request, &body, &failure);
    if (r == 0)
        r = service->submit(service->ctx, &request->caller, key, body, &job, &created, &failure);
    if (r)
        return answer_failure(request, r, &failure);
    return answer_submitted(request, job);
}

enum MHD_Result estimate_post(struct request *request) {
    struct service *service = request->api->service;
    cleanup(json_decrefp) json_t *body = NULL, *estimate = NULL;
    struct failure failure = {};
    int r = request_json(request, &body, &failure);

    if (r == 0)
        r = service->estimate(service->ctx, &request->caller, body, &estimate, &failure);
    if (r)
        return answer_failure(request, r, &failure);
    return answer_json(request, MHD_HTTP_OK, estimate, NULL);
}

/* Of this process and of what the caller sees: a tag of another never fits. */
static uint32_t tag_space(const struct request *request) {
    return request->api->boot ^ caller_scope(&request->caller);
}

/* @object NULL: it is as the client knows it, by the version it sent. */
static enum MHD_Result answer_versioned(struct request *request, const json_t *object,
                                        uint64_t version) {
    const char *known = request_header(request, MHD_HTTP_HEADER_IF_NONE_MATCH);
    char tag[ETAG_SIZE];

    etag_of_version(tag_space(request), version, tag);
    if (!object || etag_matches(known, tag))
        return answer_json_not_modified(request, tag);
    return answer_json(request, MHD_HTTP_OK, object, tag);
}

static uint64_t known_version(const struct request *request) {
    return etag_known_version(request_header(request, MHD_HTTP_HEADER_IF_NONE_MATCH),
                              tag_space(request));
}

enum MHD_Result jobs_get(struct request *request) {
    struct service *service = request->api->service;
    cleanup(json_decrefp) json_t *list = NULL;
    uint64_t known = known_version(request), version = known;
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
    uint64_t known = known_version(request), version = known;
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

    r = take_key(request, &key, &failure);
    if (r == 0)
        r = request_no_body(request, &failure);
    if (r == 0)
        r = service->retry(service->ctx, &request->caller, key, request->job, &job, &failure);
    if (r)
        return answer_failure(request, r, &failure);
    return answer_submitted(request, job);
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
