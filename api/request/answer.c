// SPDX-License-Identifier: Apache-2.0
#include "api/request/answer.h"

#include "api/request/api.h"
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

enum MHD_Result answer_response(struct request *request, unsigned status,
                                struct MHD_Response *response) {
    enum MHD_Result result;

    if (!response)
        return MHD_NO;
    response_header(response, "X-Request-Id", request->id);
    response_header(response, "X-Content-Type-Options", "nosniff");
    if (request->must_close)
        response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    if (!request->route || !request->route->is_public)
        response_header(response, MHD_HTTP_HEADER_VARY, MHD_HTTP_HEADER_AUTHORIZATION);
    result = MHD_queue_response(request->connection, status, response);
    MHD_destroy_response(response);
    metrics_count(request->api->metrics, request->route, request->method, status,
                  clock_monotonic() - request->began);
    log_debug("request %s: %s %u", request->id, request->route ? request->route->path : "-",
              status);
    return result;
}

enum MHD_Result answer_json(struct request *request, unsigned status, const json_t *body,
                            const char *etag) {
    struct MHD_Response *response = response_json(body, WIRE_JSON);

    if (response && etag)
        response_header(response, MHD_HTTP_HEADER_ETAG, etag);
    if (response)
        response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-cache");
    return answer_response(request, status, response);
}

enum MHD_Result answer_not_modified(struct request *request, const char *etag) {
    struct MHD_Response *response = response_empty();

    if (response) {
        response_header(response, MHD_HTTP_HEADER_ETAG, etag);
        response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-cache");
    }
    return answer_response(request, MHD_HTTP_NOT_MODIFIED, response);
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
