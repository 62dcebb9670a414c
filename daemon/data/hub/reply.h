// SPDX-License-Identifier: Apache-2.0
/* What the headers of an answer mean. */
#pragma once

#include "base/hash.h"
#include "daemon/data/hub/hub.h"
#include "daemon/data/hub/site.h"

#include <curl/curl.h>

/* What an answer says of itself: of the last one, but names of the first that has them. */
struct hub_reply {
    long status;
    char commit[HUB_COMMIT_SIZE]; /* X-Repo-Commit; "" */
    char etag[DIGEST_TEXT_SIZE];  /* X-Linked-Etag, else ETag, when it is hex; "" */
    bool linked;                  /* etag came as X-Linked-Etag: no later one replaces it */
    bool has_size;
    uint64_t size;         /* X-Linked-Size, else Content-Length */
    uint64_t first, total; /* Content-Range of a 206 */
    double retry_after;    /* seconds; -1: it does not say */
};

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
