// SPDX-License-Identifier: Apache-2.0
#include "api/request/problem.h"

#include "base/macros.h"

#include <errno.h>
#include <microhttpd.h>
#include <string.h>

static const struct {
    int r;
    unsigned status;
} statuses[] = {
    {-EBADMSG, MHD_HTTP_BAD_REQUEST},
    {-EPERM, MHD_HTTP_FORBIDDEN},
    {-ENOENT, MHD_HTTP_NOT_FOUND},
    {-EEXIST, MHD_HTTP_CONFLICT},
    {-EBUSY, MHD_HTTP_CONFLICT},
    {-EINVAL, MHD_HTTP_UNPROCESSABLE_CONTENT},
    {-EDQUOT, MHD_HTTP_TOO_MANY_REQUESTS},
    {-EAGAIN, MHD_HTTP_SERVICE_UNAVAILABLE},
    {-ENOSPC, MHD_HTTP_INSUFFICIENT_STORAGE},
};

unsigned problem_status(int r) {
    for (size_t i = 0; i < ARRAY_SIZE(statuses); i++)
        if (statuses[i].r == r)
            return statuses[i].status;
    return MHD_HTTP_INTERNAL_SERVER_ERROR;
}

int problem_retry_after(unsigned status) {
    if (status == MHD_HTTP_TOO_MANY_REQUESTS)
        return 30;
    return status == MHD_HTTP_SERVICE_UNAVAILABLE ? 5 : 0;
}

json_t *problem_new(unsigned status, const struct failure *failure, const char *request_id) {
    static const struct failure internal = {
        .code = "internal_error",
        .detail = "the daemon could not answer",
        .hint = "its log has the reason under this request_id",
    };
    const char *hint, *field;

    if (status == MHD_HTTP_INTERNAL_SERVER_ERROR)
        failure = &internal;
    hint = failure->hint[0] ? failure->hint : NULL;
    field = failure->field[0] ? failure->field : NULL;
    /* s* leaves the member out when it is NULL. */
    return json_pack("{s:s, s:s, s:i, s:s, s:s, s:s*, s:s*, s:b, s:s}", "type", "about:blank",
                     "title", MHD_get_reason_phrase_for(status), "status", (int)status, "code",
                     failure->code, "detail", failure->detail, "hint", hint, "field", field,
                     "retryable", failure->retryable || problem_retry_after(status) > 0,
                     "request_id", request_id);
}
