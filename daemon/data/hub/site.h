// SPDX-License-Identifier: Apache-2.0
/* The servers that may be asked, and their addresses. */
#pragma once

#include "base/cleanup.h"
#include "base/failure.h"
#include "base/str.h"
#include "base/task.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* How the last request to the endpoint went. */
struct hub_contact {
    pthread_mutex_t lock;           /* of all below */
    int64_t answered_at, failed_at; /* milliseconds since 1970; 0: never */
    int n_failed;                   /* requests in a row without an answer */
    double failed_clock;            /* monotonic seconds of the newest of them */
    char error[256];                /* of the failure */
    struct task look_up;            /* where the hub's name leads; the name service may hang */
    bool looks_up;                  /* it runs, or was not finished yet */
    double resolved_clock;          /* when it last returned; 0: never */
    bool leads_here;                /* what it found: hub_is_cut_off() */
};

/* Whom to ask, and how patiently. */
struct hub_site {
    char *endpoint; /* without a slash at the end */
    char *origin;   /* its "scheme://host:port" */
    char *token;    /* NULL: none */
    bool plain;     /* the endpoint is http on loopback: then other loopback addresses may be */
    double retry_seconds;
    long silence_seconds;
    struct hub_contact *contact; /* borrowed; NULL: not recorded */
};

/* hub_site_check() - may @url be asked at all? Return: 0 or -EINVAL (hub_invalid). */
int hub_site_check(const struct hub_site *site, const char *url, struct failure *failure);

/* hub_origin() - "scheme://host:port" of @url, owned by the caller; NULL: no http(s) URL. */
char *hub_origin(const char *url);

/* Is @url http:// on a loopback address? */
bool hub_is_plain(const char *url);

/* hub_escape() - append @text to @buf, escaped as one part of a path. */
void hub_escape(struct strbuf *buf, const char *text);
