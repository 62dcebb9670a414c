// SPDX-License-Identifier: Apache-2.0
/* What the API answers when something could not be done: RFC 9457. Any thread. */
#pragma once

#include "base/failure.h"

#include <jansson.h>

/* problem_status() - the HTTP status of the negative errno @r, see api/service.h; 500 if unknown */
unsigned problem_status(int r);

/*
 * problem_new() - the body of application/problem+json; the caller owns it, NULL when out of
 * memory. A status of 500 says nothing of @failure but the request id under which the log has it.
 */
json_t *problem_new(unsigned status, const struct failure *failure, const char *request_id);

/* problem_retry_after() - seconds for the Retry-After header; 0: none is due. */
int problem_retry_after(unsigned status);
