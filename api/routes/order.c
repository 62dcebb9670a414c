// SPDX-License-Identifier: Apache-2.0
/* The order of waiting jobs, one by one or those of a group. */
#include "api/request/answer.h"
#include "api/request/api.h"
#include "api/routes/table.h"
#include "base/cleanup.h"
#include "base/json.h"

#include <errno.h>

#define PRIORITY_MAX 100

enum target { JOB, GROUP };

static enum MHD_Result order_it(struct request *request, enum target target,
                                const struct job_order *order) {
    struct service *service = request->api->service;
    cleanup(json_decrefp) json_t *answer = NULL;
    struct failure failure = {};
    int r = (target == GROUP ? service->order_group : service->order)(
        service->ctx, &request->caller, request->job, order, &answer, &failure);

    if (r)
        return answer_failure(request, r, &failure);
    return answer_json(request, MHD_HTTP_OK, answer, NULL);
}

static enum MHD_Result hold(struct request *request, enum target target, bool held) {
    struct failure failure = {};
    int r = request_no_body(request, &failure);

    if (r)
        return answer_failure(request, r, &failure);
    return order_it(request, target, &(struct job_order){.held = &held});
}

enum MHD_Result job_hold(struct request *request) {
    return hold(request, JOB, true);
}

enum MHD_Result job_release(struct request *request) {
    return hold(request, JOB, false);
}

enum MHD_Result group_hold(struct request *request) {
    return hold(request, GROUP, true);
}

enum MHD_Result group_release(struct request *request) {
    return hold(request, GROUP, false);
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

static enum MHD_Result prioritize(struct request *request, enum target target) {
    struct failure failure = {};
    int priority = 0, r = take_priority(request, &priority, &failure);

    if (r)
        return answer_failure(request, r, &failure);
    return order_it(request, target, &(struct job_order){.priority = &priority});
}

enum MHD_Result job_priority(struct request *request) {
    return prioritize(request, JOB);
}

enum MHD_Result group_priority(struct request *request) {
    return prioritize(request, GROUP);
}
