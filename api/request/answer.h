// SPDX-License-Identifier: Apache-2.0
/*
 * Answers to a request. Each sends one and counts it; what they return is for libmicrohttpd. On
 * the connection's own thread, once for each request.
 */
#pragma once

#include "api/request/request.h"

/*
 * answer_response() - send @response (taken over; NULL when it could not be made: the connection
 * is closed).
 */
enum MHD_Result answer_response(struct request *request, unsigned status,
                                struct MHD_Response *response);

/* answer_json() - send @body (borrowed) as JSON; @etag: NULL or its entity tag. */
enum MHD_Result answer_json(struct request *request, unsigned status, const json_t *body,
                            const char *etag);

/* answer_not_modified() - send 304 with @etag. */
enum MHD_Result answer_not_modified(struct request *request, const char *etag);

/* answer_failure() - send the problem that -errno @r and @failure mean. */
enum MHD_Result answer_failure(struct request *request, int r, const struct failure *failure);

/* answer_refusal() - send the refusal that request->refusal and request->failure hold. */
enum MHD_Result answer_refusal(struct request *request);
