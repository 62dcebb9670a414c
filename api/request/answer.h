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

/*
 * answer_json() - send @body (borrowed) as JSON, as gzip when the client takes that; @etag: NULL or
 * its entity tag, which is sent as a weak one to such a client: it is the same for both.
 */
enum MHD_Result answer_json(struct request *request, unsigned status, const json_t *body,
                            const char *etag);

/* answer_static() - send @size bytes of JSON at @data, which stay for good, with their tag. */
enum MHD_Result answer_static(struct request *request, const void *data, size_t size,
                              const char *etag);

/* answer_not_modified() - send 304 with @etag; the other one for what answer_json() would send. */
enum MHD_Result answer_not_modified(struct request *request, const char *etag);
enum MHD_Result answer_json_not_modified(struct request *request, const char *etag);

/*
 * answer_versioned() - send @object with the tag of its @version, or 304 when the client has it;
 * NULL: it is as the client knows it.
 */
enum MHD_Result answer_versioned(struct request *request, const json_t *object, uint64_t version);

/* answer_known_version() - of what is asked for, as the client has it; 0: it has none. */
uint64_t answer_known_version(const struct request *request);

/* answer_submitted() - send @job with the address of it below @folder ("/v1/jobs"). */
enum MHD_Result answer_submitted(struct request *request, const char *folder, const json_t *job);

/* answer_failure() - send the problem that -errno @r and @failure mean. */
enum MHD_Result answer_failure(struct request *request, int r, const struct failure *failure);

/* answer_refusal() - send the refusal that request->refusal and request->failure hold. */
enum MHD_Result answer_refusal(struct request *request);
