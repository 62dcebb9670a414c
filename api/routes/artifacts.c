// SPDX-License-Identifier: Apache-2.0
#include "api/header/etag.h"
#include "api/header/range.h"
#include "api/request/answer.h"
#include "api/request/api.h"
#include "api/request/response.h"
#include "api/routes/table.h"
#include "api/wire.h"
#include "base/cleanup.h"
#include "base/json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void artifact_done(struct artifact *artifact) {
    if (artifact->fd >= 0)
        close(artifact->fd);
}

enum MHD_Result artifacts_get(struct request *request) {
    struct service *service = request->api->service;
    cleanup(json_decrefp) json_t *list = NULL;
    struct failure failure = {};
    int r;

    r = service->artifacts(service->ctx, &request->caller, request->job, &list, &failure);
    if (r)
        return answer_failure(request, r, &failure);
    return answer_json(request, MHD_HTTP_OK, list, NULL);
}

static const char *type_of(const char *name) {
    size_t n = strlen(name);

    return n > 5 && strcmp(name + n - 5, ".json") == 0 ? WIRE_JSON : "application/octet-stream";
}

/*
 * What of the file is asked for; only GET has ranges. If-Range: only as long as the file is the one
 * that was begun.
 */
static enum range_kind wanted_range(const struct request *request, const char *tag, uint64_t size,
                                    uint64_t *ret_first, uint64_t *ret_length) {
    const char *condition = request_header(request, MHD_HTTP_HEADER_IF_RANGE);

    if (request->is_head || (condition && strcmp(condition, tag) != 0))
        return RANGE_ALL;
    return range_parse(request_header(request, MHD_HTTP_HEADER_RANGE), size, ret_first, ret_length);
}

static enum MHD_Result answer_unsatisfiable(struct request *request, uint64_t size) {
    struct MHD_Response *response = response_empty();
    char text[48];

    if (response) {
        snprintf(text, sizeof(text), "bytes */%" PRIu64, size);
        response_header(response, MHD_HTTP_HEADER_CONTENT_RANGE, text);
    }
    return answer_response(request, MHD_HTTP_RANGE_NOT_SATISFIABLE, response);
}

static void add_headers(const struct request *request, struct MHD_Response *response,
                        const char *tag) {
    char text[sizeof(request->name) + 32];

    snprintf(text, sizeof(text), "attachment; filename=\"%s\"", request->name);
    response_header(response, MHD_HTTP_HEADER_CONTENT_DISPOSITION, text);
    response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type_of(request->name));
    response_header(response, MHD_HTTP_HEADER_ACCEPT_RANGES, "bytes");
    response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-cache");
    response_header(response, MHD_HTTP_HEADER_ETAG, tag);
}

static enum MHD_Result answer_file(struct request *request, struct artifact *artifact,
                                   const char *tag) {
    uint64_t first = 0, length = artifact->size;
    enum range_kind kind = wanted_range(request, tag, artifact->size, &first, &length);
    struct MHD_Response *response;
    char text[80];

    if (kind == RANGE_UNSATISFIABLE)
        return answer_unsatisfiable(request, artifact->size);
    response = MHD_create_response_from_fd_at_offset64(length, artifact->fd, first);
    if (!response)
        return MHD_NO;
    artifact->fd = -1; /* closed with the response */
    add_headers(request, response, tag);
    if (kind == RANGE_ALL)
        return answer_response(request, MHD_HTTP_OK, response);
    snprintf(text, sizeof(text), "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, first,
             first + length - 1, artifact->size);
    response_header(response, MHD_HTTP_HEADER_CONTENT_RANGE, text);
    return answer_response(request, MHD_HTTP_PARTIAL_CONTENT, response);
}

/* The file, or as much of it as is asked for. @r, @failure: of the function that opened it. */
static enum MHD_Result answer_opened(struct request *request, int r, struct artifact *artifact,
                                     const struct failure *failure) {
    char tag[ETAG_SIZE];

    if (r)
        return answer_failure(request, r, failure);
    snprintf(tag, sizeof(tag), "\"%s\"", artifact->sha256);
    if (etag_matches(request_header(request, MHD_HTTP_HEADER_IF_NONE_MATCH), tag))
        return answer_not_modified(request, tag);
    return answer_file(request, artifact, tag);
}

enum MHD_Result backup_file_get(struct request *request) {
    struct service *service = request->api->service;
    cleanup(artifact_done) struct artifact file = {.fd = -1};
    struct failure failure = {};
    int r = service->backup_open(service->ctx, request->name, &file, &failure);

    return answer_opened(request, r, &file, &failure);
}

enum MHD_Result artifact_get(struct request *request) {
    struct service *service = request->api->service;
    cleanup(artifact_done) struct artifact artifact = {.fd = -1};
    struct failure failure = {};
    int r;

    r = service->artifact_open(service->ctx, &request->caller, request->job, request->name,
                               &artifact, &failure);
    return answer_opened(request, r, &artifact, &failure);
}
