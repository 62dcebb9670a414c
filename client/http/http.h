// SPDX-License-Identifier: Apache-2.0
/*
 * Talking to the daemon; the only user of libcurl. One thread. The server is not trusted: answers
 * are bounded in size, redirects are not followed.
 *
 * What the functions return beside 0:
 *   -ECOMM      not reachable: nothing was sent (code daemon_unreachable)
 *   -EPIPE      the connection broke (code connection_lost); what was sent may have been done
 *   -EPROTO     an answer that is not quantd's (code bad_answer)
 *   -EREMOTEIO  quantd answered an error; code, detail, hint are the daemon's
 *   -EINTR      interrupted (client.h)
 *   -EINVAL     the server's name makes no sense (code usage)
 *   others      on this side
 */
#pragma once

#include "base/cleanup.h"
#include "base/failure.h"
#include "base/json.h"

#include <stdint.h>

struct http;

/*
 * http_new() - prepare to talk to @server: "http://HOST:PORT[/PREFIX]", "HOST:PORT" or
 * "unix:PATH"; NULL: the default socket when it exists, else the default address. Does not
 * connect yet.
 */
int http_new(const char *server, struct http **ret_http, struct failure *failure);
void http_free(struct http *http);
DEFINE_CLEANUP(struct http *, http_freep, http_free)

/*
 * http_set_token() - show @token (copied; NULL: none) from now on, to this server and to nobody
 * else. Return: 0 or -ENOMEM.
 */
int http_set_token(struct http *http, const char *token);

/* http_server() - what the server is called in messages; borrowed. */
const char *http_server(const struct http *http);

/* http_socket() - the path of the unix socket that it talks to; NULL: TCP; borrowed. */
const char *http_socket(const struct http *http);

/* http_is_local() - is it on this machine: a unix socket, or an address of loopback? */
bool http_is_local(const struct http *http);

/* http_is_transient() - may the same request succeed soon, after it returned @r? */
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

/* Takes a body as it comes in. */
struct http_sink {
    void *ctx;
    /* The answer begins; @partial: at the offset that was asked for. Return: 0 or -errno. */
    int (*begin)(void *ctx, bool partial);
    /* Return: 0, or what the transfer is to return: 1 (enough, no error) or -errno. */
    int (*data)(void *ctx, const char *data, size_t size);
    /* Called some times a second; NULL: none. Return: 0, or 1: enough, no error. */
    int (*tick)(void *ctx);
};

/*
 * http_stream() - GET a stream of events, until it ends, the sink has enough (both: 0), or it
 * is silent for longer than heartbeats allow.
 * @last_event_id: resume after it; 0: from the start
 */
int http_stream(struct http *http, const char *path, uint64_t last_event_id,
                const struct http_sink *sink, struct failure *failure);

/* http_download() - GET the bytes of @path from @offset on. */
int http_download(struct http *http, const char *path, uint64_t offset,
                  const struct http_sink *sink, struct failure *failure);
