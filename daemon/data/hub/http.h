// SPDX-License-Identifier: Apache-2.0
/*
 * HTTP as a hub wants it. Redirects are followed by hand: only over https (or on loopback, when
 * the endpoint is there), and the token goes to the endpoint's host alone. The server is not
 * trusted: what it sends is bounded.
 */
#pragma once

#include "daemon/data/hub/reply.h"
#include "daemon/data/hub/site.h"

#include <errno.h>
#include <jansson.h>

/* JSON of a hub and of a model is smaller. */
#define HUB_JSON_MAX ((uint64_t)64 << 20)

struct hub_http; /* some connections; one thread */

/*
 * hub_http_new() - @site and @ctx are borrowed; @stopped(@ctx) is asked often, by the thread that
 * waits: true ends a transfer. The caller owns *ret_http.
 */
int hub_http_new(const struct hub_site *site, bool (*stopped)(void *ctx), void *ctx,
                 struct hub_http **ret_http, struct failure *failure);
void hub_http_free(struct hub_http *http);
DEFINE_CLEANUP(struct hub_http *, hub_http_freep, hub_http_free)

struct hub_request {
    const char *url;
    bool head;   /* HEAD, and no redirect to another host is followed that has the metadata */
    bool ranged; /* bytes @first to @last, both inclusive */
    uint64_t first, last;
    long seconds; /* the whole may take; 0: as long as bytes come */
    void *ctx;
    /* A 2xx answer begins, with its bytes; both may be NULL. Return: 0 or -errno. */
    int (*begin)(void *ctx, const struct hub_reply *reply, struct failure *failure);
    int (*data)(void *ctx, const char *data, size_t size, struct failure *failure);
};

/*
 * hub_http_once() - one request with its redirects. Return: 0 for a 2xx answer (of a HEAD also a
 * redirect that has the metadata), -ECANCELED, or -errno with the failure: when it is retryable,
 * the same may succeed later.
 */
int hub_http_once(struct hub_http *http, const struct hub_request *request,
                  struct hub_reply *ret_reply, struct failure *failure);

/*
 * hub_http_wait() - before try @n (1 is the second): as long as @reply asks, else twice as long
 * each time. Return: 0; -ECANCELED; or @r: that was the last try.
 */
int hub_http_wait(struct hub_http *http, const struct hub_reply *reply, int n, int r,
                  struct failure *failure);

/* hub_http_ask() - hub_http_once() until it succeeds or it makes no sense to go on. */
int hub_http_ask(struct hub_http *http, const struct hub_request *request,
                 struct hub_reply *ret_reply, struct failure *failure);

static inline int hub_cancelled(struct failure *failure) {
    return failure_set(failure, -ECANCELED, "cancelled", NULL, "cancelled");
}

/* hub_http_json() - GET @url, JSON of at most HUB_JSON_MAX bytes; owned by the caller. */
int hub_http_json(struct hub_http *http, const char *url, json_t **ret_value,
                  struct failure *failure);
