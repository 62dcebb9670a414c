// SPDX-License-Identifier: Apache-2.0
/* What a request's headers must satisfy before anything else looks at it. */
#pragma once

struct request;

/*
 * request_check() - look at @request, whose connection is set, for @method and @url. Sets its
 * route, job, name and caller; or refusal, failure and allow. A refusal because of the caller is
 * logged. On the connection's own thread, once.
 */
void request_check(struct request *request, const char *method, const char *url);
