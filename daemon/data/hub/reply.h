// SPDX-License-Identifier: Apache-2.0
/* What the headers of an answer mean, and which addresses may be asked. For hub_http.c. */
#pragma once

#include "daemon/data/hub/http.h"

#include <curl/curl.h>

/*
 * hub_reply_read() - the headers of the answer that @easy has begun; etag, commit and size of an
 * earlier hop stay when they came as X-Linked-*.
 */
void hub_reply_read(CURL *easy, struct hub_reply *reply);

/* hub_reply_check() - is the body as it is, not compressed? Return: 0 or -EPROTO. */
int hub_reply_check(CURL *easy, const char *url, struct failure *failure);

/*
 * hub_reply_fail() - the failure of an answer that is no success: @url was asked for, @last
 * answered. Return: -errno.
 */
int hub_reply_fail(CURL *easy, const struct hub_site *site, const char *url, const char *last,
                   const struct hub_reply *reply, struct failure *failure);
