// SPDX-License-Identifier: Apache-2.0
/* What the jobs of a group would take together. */
#include "daemon/estimate/answer.h"
#include "daemon/queue/groups/group_request.h"

/* One more member; *seconds becomes the sum with it, NULL when it is not known. */
static int add_member(json_t *members, json_t *values, json_t *estimate, json_t **seconds) {
    const json_t *more = json_object_get(estimate, "seconds");
    json_t *sum = json_is_number(*seconds) && json_is_number(more)
                      ? json_real(json_number_value(*seconds) + json_number_value(more))
                      : json_null();

    json_decref(*seconds);
    *seconds = sum;
    return json_array_append_new(members,
                                 json_pack("{sO sO}", "values", values, "estimate", estimate));
}

int estimate_group_answer(struct jobs *jobs, struct counts *counts, const json_t *devices,
                          const struct caller *caller, const json_t *body, json_t **ret_estimate,
                          struct failure *failure) {
    cleanup(group_request_done) struct group_request request = {};
    cleanup(json_decrefp) json_t *members = json_array(), *seconds = json_real(0);
    json_t *one;
    size_t i;
    int r = group_request_parse(body, &request, failure);

    if (r)
        return r;
    json_array_foreach(request.requests, i, one) {
        cleanup(json_decrefp) json_t *estimate = NULL;

        r = estimate_answer(jobs, counts, devices, caller, one, &estimate, failure);
        if (r) {
            failure_of(failure, json_string_value(json_array_get(request.labels, i)));
            return r;
        }
        if (add_member(members, json_array_get(request.values, i), estimate, &seconds))
            return failure_oom(failure);
    }
    *ret_estimate =
        json_pack("{ss sO sO}", "object", "group_estimate", "members", members, "seconds", seconds);
    return *ret_estimate ? 0 : failure_oom(failure);
}
