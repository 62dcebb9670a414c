// SPDX-License-Identifier: Apache-2.0
/*
 * Requests to the daemon; the only user of libcurl. One thread. The server is not trusted: the
 * size of answers is limited, and redirects are not followed.
 *
 * What the functions return beside 0:
 *   -ECOMM      cannot connect, so nothing was sent (code daemon_unreachable)
 *   -EPIPE      the connection broke (code connection_lost); the request may have been carried out
 *   -EPROTO     an answer that does not come from quantd (code bad_answer)
 *   -EREMOTEIO  quantd answered with an error; code, detail and hint are the daemon's
 *   -EINTR      interrupted (screen/interrupt.h)
 *   -EINVAL     the name of the server is invalid (code usage)
 *   others      an error on this machine
 */
#pragma once

#include "base/cleanup.h"
#include "base/failure.h"
#include "base/json.h"

#include <stdint.h>

struct http;

/*
 * http_new() - a client of @server: "http://HOST:PORT[/PREFIX]", "HOST:PORT" or
 * "unix:PATH"; NULL: the default socket when it exists, else the default address. Does not
 * connect yet.
 */
int http_new(const char *server, struct http **ret_http, struct failure *failure);
void http_free(struct http *http);
DEFINE_CLEANUP(struct http *, http_freep, http_free)

/*
 * http_set_token() - send @token (copied; NULL: none) with each request to this server. Return: 0
 * or -ENOMEM.
 */
int http_set_token(struct http *http, const char *token);

/* http_server() - the name of the server in messages; borrowed. */
const char *http_server(const struct http *http);

/* http_socket() - the path of the unix socket, NULL for TCP; borrowed. */
const char *http_socket(const struct http *http);

/* http_is_local() - is it on this machine: a unix socket, or an address of loopback? */
bool http_is_local(const struct http *http);

/* http_is_transient() - can the request that returned @r succeed when it is sent again? */
bool http_is_transient(const struct http *http, int r);

/*
 * http_call() - one request, answered with JSON.
 * @body:            sent as JSON; NULL: none
 * @idempotency_key: NULL: none
 * @ret_answer:      owned by the caller; null for an answer without a body
 */
int http_call(struct http *http, const char *method, const char *path, const json_t *body,
              const char *idempotency_key, json_t **ret_answer, struct failure *failure);

/* http_get() - http_call() without a body. */
int http_get(struct http *http, const char *path, json_t **ret_answer, struct failure *failure);

/* Receives the body of an answer piece by piece. */
struct http_sink {
    void *ctx;
    /* The answer begins; @partial: at the requested offset. Return: 0 or -errno. */
    int (*begin)(void *ctx, bool partial);
    /* Return: 0 to continue; 1 to stop without error; or -errno to stop. */
    int (*data)(void *ctx, const char *data, size_t size);
    /* Called some times a second; NULL: none. Return: 0 to continue, 1 to stop without error. */
    int (*tick)(void *ctx);
};

/*
 * http_stream() - GET a stream of events, until it ends or the sink stops it (both: 0), or nothing
 * comes for three heartbeats (-EPIPE).
 * @last_event_id: resume after it; 0: from the start
 */
int http_stream(struct http *http, const char *path, uint64_t last_event_id,
                const struct http_sink *sink, struct failure *failure);

/* http_download() - GET the bytes of @path from @offset on. */
int http_download(struct http *http, const char *path, uint64_t offset,
                  const struct http_sink *sink, struct failure *failure);
