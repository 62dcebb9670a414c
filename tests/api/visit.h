// SPDX-License-Identifier: Apache-2.0
/* Asking the API as a client does: by libcurl, or byte by byte on a socket. */
#pragma once

#include "api/server/http.h"
#include "api/stream/sse.h"
#include "base/str.h"
#include "tests/api/fake/fake.h"

#include <curl/curl.h>

/* A running API. */
struct site {
    struct fake *fake;
    struct api *api;
    char socket[96]; /* of its unix listener */
};

/* site_open() - start one on 127.0.0.1 and on a unix socket; aborts when it cannot. */
struct site *site_open(void);
/* site_open_limited() - the same with other limits. */
struct site *site_open_limited(struct api_limits limits);
void site_close(struct site *site);

/* One request; method, headers and body may be left out. */
struct visit {
    const char *method, *path;
    const char *headers[6]; /* "Name: value"; "Name:" removes it; "Name;" sends it empty */
    const char *body;
    size_t size;    /* of body; 0: its string length */
    bool chunked;   /* send the body so */
    bool over_unix; /* by the unix socket */
};

struct answer {
    long status;
    CURLcode result;
    struct strbuf body, headers;
};

/* visit() - ask; the caller owns what the answer holds. */
struct answer visit(struct site *site, struct visit visit);
void answer_done(struct answer *answer);

/* answer_header() - value of a header in a buffer of the caller, or "" without it. */
const char *answer_header(const struct answer *answer, const char *name, char *buffer, size_t size);

/* site_connect() - a TCP connection, blocking, with @text sent. */
int site_connect(struct site *site, const char *text);
int site_connect_unix(struct site *site); /* the same on the unix socket */

/* site_send() - send bytes; a connection that was closed is no failure. */
void site_send(int fd, const char *data, size_t size);

/*
 * site_hear() - what comes until the connection closes, or nothing came for @silence seconds; the
 * caller frees it.
 */
char *site_hear(int fd, double silence, bool *ret_closed);

/* site_talk() - what comes back for @text until the connection closes; the caller frees it. */
char *site_talk(struct site *site, const char *text, size_t size);

/* A client of a stream. */
struct watcher {
    CURL *easy;
    struct curl_slist *headers;
    struct sse_parser parser;
    struct strbuf seen; /* "type#id " of every event */
    int n_events, n_progress, n_comments;
    uint64_t last; /* id of the last stored event */
    bool disorder; /* an id that is not larger than the one before */
    bool done;
    CURLcode result;
    long status;
};

void watcher_open(struct watcher *watcher, struct site *site, CURLM *multi, const char *path,
                  const char *header);
void watcher_close(struct watcher *watcher, CURLM *multi);

/* watch_until() - run all until @stop says so or @seconds are over. Return: did it? */
bool watch_until(CURLM *multi, bool (*stop)(void *ctx), void *ctx, double seconds);
