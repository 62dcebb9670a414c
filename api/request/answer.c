// SPDX-License-Identifier: Apache-2.0
#include "api/request/answer.h"

#include "api/header/etag.h"
#include "api/header/media.h"
#include "api/request/api.h"
#include "api/request/caller.h"
#include "api/request/metrics.h"
#include "api/request/problem.h"
#include "api/request/refusal.h"
#include "api/request/response.h"
#include "api/request/route.h"
#include "api/wire.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log/log.h"

#include <stdio.h>
#include <string.h>

/* What a cache has to compare beside the address; NULL: nothing. */
static const char *vary_of(const struct request *request) {
    bool is_public = request->route && request->route->is_public;

    if (request->is_coded)
        return is_public ? "Accept-Encoding" : "Authorization, Accept-Encoding";
    return is_public ? NULL : MHD_HTTP_HEADER_AUTHORIZATION;
}

enum MHD_Result answer_response(struct request *request, unsigned status,
                                struct MHD_Response *response) {
    const char *vary = vary_of(request);
    enum MHD_Result result;

    if (!response)
        return MHD_NO;
    response_header(response, "X-Request-Id", request->id);
    response_header(response, "X-Content-Type-Options", "nosniff");
    if (request->must_close)
        response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    if (vary)
        response_header(response, MHD_HTTP_HEADER_VARY, vary);
    result = MHD_queue_response(request->connection, status, response);
    MHD_destroy_response(response);
    metrics_count(request->api->metrics, request->route, request->method, status,
                  clock_monotonic() - request->began);
    log_debug("request %s: %s %u", request->id, request->route ? request->route->path : "-",
              status);
    return result;
}

/* Does the client take gzip? Then its tags are weak: one stands for both codings. */
static bool takes_gzip(struct request *request) {
    request->is_coded = true;
    return media_asks(request_header(request, MHD_HTTP_HEADER_ACCEPT_ENCODING), "gzip");
}

static void put_tag(struct MHD_Response *response, const char *etag, bool weak) {
    char text[ETAG_SIZE + 2];

    if (!response)
        return;
    snprintf(text, sizeof(text), "%s%s", weak ? "W/" : "", etag ? etag : "");
    if (etag)
        response_header(response, MHD_HTTP_HEADER_ETAG, text);
    response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-cache");
}

enum MHD_Result answer_json(struct request *request, unsigned status, const json_t *body,
                            const char *etag) {
    bool packs = takes_gzip(request);
    struct MHD_Response *response =
        packs ? response_json_packed(body, WIRE_JSON) : response_json(body, WIRE_JSON);

    put_tag(response, etag, packs);
    return answer_response(request, status, response);
}

enum MHD_Result answer_static(struct request *request, const void *data, size_t size,
                              const char *etag) {
    bool packs = takes_gzip(request);
    struct MHD_Response *response = packs ? response_static_packed(data, size, WIRE_JSON)
                                          : response_static(data, size, WIRE_JSON);

    put_tag(response, etag, packs);
    return answer_response(request, MHD_HTTP_OK, response);
}

static enum MHD_Result not_modified(struct request *request, const char *etag, bool weak) {
    struct MHD_Response *response = response_empty();

    put_tag(response, etag, weak);
    return answer_response(request, MHD_HTTP_NOT_MODIFIED, response);
}

enum MHD_Result answer_not_modified(struct request *request, const char *etag) {
    return not_modified(request, etag, false);
}

enum MHD_Result answer_json_not_modified(struct request *request, const char *etag) {
    return not_modified(request, etag, takes_gzip(request));
}

/* Of this process and of what the caller sees: a tag of another never fits. */
static uint32_t tag_space(const struct request *request) {
    return request->api->boot ^ caller_scope(&request->caller);
}

uint64_t answer_known_version(const struct request *request) {
    return etag_known_version(request_header(request, MHD_HTTP_HEADER_IF_NONE_MATCH),
                              tag_space(request));
}

enum MHD_Result answer_versioned(struct request *request, const json_t *object, uint64_t version) {
    const char *known = request_header(request, MHD_HTTP_HEADER_IF_NONE_MATCH);
    char tag[ETAG_SIZE];

    etag_of_version(tag_space(request), version, tag);
    if (!object || etag_matches(known, tag))
        return answer_json_not_modified(request, tag);
    return answer_json(request, MHD_HTTP_OK, object, tag);
}

enum MHD_Result answer_submitted(struct request *request, const char *folder, const json_t *job) {
    struct MHD_Response *response = response_json(job, WIRE_JSON);
    char location[64];

    if (response) {
        snprintf(location, sizeof(location), "%s/%" JSON_INTEGER_FORMAT, folder,
                 json_integer_value(json_object_get(job, "id")));
        response_header(response, MHD_HTTP_HEADER_LOCATION, location);
    }
    return answer_response(request, MHD_HTTP_ACCEPTED, response);
}

static enum MHD_Result answer_problem(struct request *request, unsigned status,
                                      const struct failure *failure) {
    cleanup(json_decrefp) json_t *problem = problem_new(status, failure, request->id);
    struct MHD_Response *response = problem ? response_json(problem, WIRE_PROBLEM) : NULL;
    int retry_after = problem_retry_after(status);
    char text[16];

    if (response && retry_after) {
        snprintf(text, sizeof(text), "%d", retry_after);
        response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, text);
    }
    if (response && status == MHD_HTTP_UNAUTHORIZED)
        response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE,
                        request_header(request, MHD_HTTP_HEADER_AUTHORIZATION)
                            ? "Bearer realm=\"quantd\", error=\"invalid_token\""
                            : "Bearer realm=\"quantd\"");
    if (response && request->allow[0])
        response_header(response, MHD_HTTP_HEADER_ALLOW, request->allow);
    return answer_response(request, status, response);
}

enum MHD_Result answer_failure(struct request *request, int r, const struct failure *failure) {
    unsigned status = problem_status(r);

    if (status == MHD_HTTP_INTERNAL_SERVER_ERROR)
        log_record(LOG_ERR, LOG_FIELDS(.request = request->id, .code = failure->code),
                   "request %s failed: %s: %s (%s)", request->id, failure->code, failure->detail,
                   strerror(-r));
    refusal_log(request, status, failure->code);
    return answer_problem(request, status, failure);
}

enum MHD_Result answer_refusal(struct request *request) {
    return answer_problem(request, request->refusal, &request->failure);
}
