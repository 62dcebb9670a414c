// SPDX-License-Identifier: Apache-2.0
/* The order of waiting jobs. */
#include "api/request/answer.h"
#include "api/request/api.h"
#include "api/routes/table.h"
#include "base/cleanup.h"
#include "base/json.h"

#include <errno.h>

#define PRIORITY_MAX 100

static enum MHD_Result order_job(struct request *request, const struct job_order *order) {
    struct service *service = request->api->service;
    cleanup(json_decrefp) json_t *job = NULL;
    struct failure failure = {};
    int r = service->order(service->ctx, &request->caller, request->job, order, &job, &failure);

    if (r)
        return answer_failure(request, r, &failure);
    return answer_json(request, MHD_HTTP_OK, job, NULL);
}

static enum MHD_Result hold(struct request *request, bool held) {
    struct failure failure = {};
    int r = request_no_body(request, &failure);

    if (r)
        return answer_failure(request, r, &failure);
    return order_job(request, &(struct job_order){.held = &held});
}

enum MHD_Result job_hold(struct request *request) {
    return hold(request, true);
}

enum MHD_Result job_release(struct request *request) {
    return hold(request, false);
}

/* The body {"priority": N}. */
static int take_priority(const struct request *request, int *ret_priority,
                         struct failure *failure) {
    cleanup(json_decrefp) json_t *body = NULL;
    const json_t *value;
    int r = request_json(request, &body, failure);

    if (r)
        return r;
    value = json_object_get(body, "priority");
    if (json_object_size(body) != 1 || !json_is_integer(value) ||
        json_integer_value(value) < -PRIORITY_MAX || json_integer_value(value) > PRIORITY_MAX)
        return failure_field(failure, "priority", "send {\"priority\": N}",
                             "must be a whole number from -%d to %d, and the only field",
                             PRIORITY_MAX, PRIORITY_MAX);
    *ret_priority = (int)json_integer_value(value);
    return 0;
}

enum MHD_Result job_priority(struct request *request) {
    struct failure failure = {};
    int priority = 0, r = take_priority(request, &priority, &failure);

    if (r)
        return answer_failure(request, r, &failure);
    return order_job(request, &(struct job_order){.priority = &priority});
}
