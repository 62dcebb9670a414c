// SPDX-License-Identifier: Apache-2.0
#include "daemon/jobdir/end.h"

#include "base/json.h"
#include "base/macros.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>

static const char *const hows[] = {"succeeded", "stopped", "failed"};

struct run_end run_end_make(int r, json_t *result, const struct failure *failure,
                            bool device_failed) {
    struct run_end end = {.how = RUN_FAILED, .result = result, .device_failed = device_failed};

    if (!r)
        end.how = RUN_SUCCEEDED;
    else if (r == -ECANCELED)
        end.how = RUN_STOPPED;
    if (r)
        end.failure = *failure;
    return end;
}

void run_end_done(struct run_end *end) {
    json_decref(end->result);
    end->result = NULL;
}

json_t *run_end_to_json(const struct run_end *end) {
    const struct failure *f = &end->failure;
    json_t *error = json_null();

    if (end->how == RUN_FAILED)
        error = json_pack("{ss ss ss ss sb}", "code", f->code, "detail", f->detail, "hint", f->hint,
                          "field", f->field, "retryable", f->retryable);
    return json_pack("{ss sO? so sb}", "how", hows[end->how], "result", end->result, "error", error,
                     "device_failed", end->device_failed);
}

/* failure_set() makes hostile text fit to be shown. */
static void read_error(const json_t *error, struct failure *ret_failure) {
    const char *code = json_string_value(json_object_get(error, "code"));
    const char *detail = json_string_value(json_object_get(error, "detail"));
    const char *hint = json_string_value(json_object_get(error, "hint"));
    const char *field = json_string_value(json_object_get(error, "field"));

    failure_set(ret_failure, -EIO, code && *code ? code : "internal", hint, "%s",
                detail ? detail : "the run gave no reason");
    snprintf(ret_failure->field, sizeof(ret_failure->field), "%s", field ? field : "");
    str_make_printable(ret_failure->field);
    ret_failure->retryable = json_is_true(json_object_get(error, "retryable"));
}

int run_end_from_json(const json_t *json, struct run_end *ret_end, struct failure *failure) {
    const char *how = json_string_value(json_object_get(json, "how"));
    json_t *result = json_object_get(json, "result");
    struct run_end end = {.device_failed = json_is_true(json_object_get(json, "device_failed"))};
    size_t i = 0;

    while (i < ARRAY_SIZE(hows) && !str_equal(how, hows[i]))
        i++;
    end.how = (enum run_how)i;
    if (i == ARRAY_SIZE(hows) || (end.how == RUN_SUCCEEDED && !json_is_object(result)))
        return failure_set(failure, -EBADMSG, "events_invalid", NULL,
                           "the end of the run is not one of succeeded, stopped, failed");
    if (end.how == RUN_SUCCEEDED) {
        end.result = json_clone(result);
        if (!end.result)
            return failure_oom(failure);
    } else {
        read_error(json_object_get(json, "error"), &end.failure);
    }
    *ret_end = end;
    return 0;
}
