// SPDX-License-Identifier: Apache-2.0
#include "api/header/media.h"
#include "api/request/answer.h"
#include "api/request/api.h"
#include "api/routes/table.h"
#include "api/stream/stream.h"
#include "api/wire.h"
#include "base/cleanup.h"
#include "base/json.h"

#include <errno.h>

/*
 * Where to go on: the header, which a browser sends by itself when it reconnects, is newer than
 * the address that the page first asked for.
 */
static int take_cursor(const struct request *request, uint64_t otherwise, uint64_t *ret_after,
                       struct failure *failure) {
    const char *last = request_header(request, "Last-Event-ID");
    int r = request_query_u64(request, "after", 0, INT64_MAX, otherwise, ret_after, failure);

    if (r || !last)
        return r;
    if (str_parse_u64(last, INT64_MAX, ret_after))
        return failure_field(failure, "Last-Event-ID", "send the id of the last event received",
                             "'%s' is not the id of an event", last);
    return 0;
}

static enum MHD_Result answer_list(struct request *request) {
    struct service *service = request->api->service;
    cleanup(json_decrefp) json_t *events = NULL, *list = NULL;
    struct failure failure = {};
    uint64_t after, limit;
    bool ended, has_more;
    int r;

    r = take_cursor(request, 0, &after, &failure);
    if (r == 0)
        r = request_query_u64(request, "limit", 1, WIRE_LIMIT_MAX, WIRE_LIMIT_DEFAULT, &limit,
                              &failure);
    /* One more than asked for shows whether there are more. */
    if (r == 0)
        r = service->events(service->ctx, &request->caller, request->job, after, (int)limit + 1,
                            &events, &ended, &failure);
    if (r)
        return answer_failure(request, r, &failure);
    has_more = json_array_size(events) > limit;
    if (has_more)
        json_array_remove(events, limit);
    list = json_pack("{s:s, s:O, s:b}", "object", "list", "data", events, "has_more", has_more);
    if (!list)
        return answer_failure(request, failure_oom(&failure), &failure);
    return answer_json(request, MHD_HTTP_OK, list, NULL);
}

static enum MHD_Result answer(struct request *request, uint64_t start) {
    const char *accept = request_header(request, MHD_HTTP_HEADER_ACCEPT);
    struct failure failure = {};
    uint64_t after;
    int r;

    /* A client that names streams gets one, and one that rules out JSON. */
    if (!media_asks(accept, WIRE_EVENT_STREAM) && media_accepts(accept, WIRE_JSON))
        return answer_list(request);
    r = take_cursor(request, start, &after, &failure);
    if (r)
        return answer_failure(request, r, &failure);
    return stream_answer(request, request->job, after);
}

enum MHD_Result job_events_get(struct request *request) {
    return answer(request, 0);
}

enum MHD_Result events_get(struct request *request) {
    return answer(request, STREAM_FROM_NOW);
}
