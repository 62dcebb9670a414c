// SPDX-License-Identifier: Apache-2.0
/* One HTTP request, from its headers to its answer. One thread at a time uses it. */
#pragma once

#include "api/request/framing.h"
#include "api/service.h"
#include "base/failure.h"
#include "base/str.h"

#include <jansson.h>
#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>

#define REQUEST_ID_SIZE 24
#define REQUEST_NAME_SIZE 129

struct api;
struct listener;
struct route;

struct request {
    struct api *api;           /* borrowed, as are the next two */
    struct listener *listener; /* where it came in */
    struct MHD_Connection *connection;
    const struct route *route; /* NULL when it is refused before one is known */
    char id[REQUEST_ID_SIZE];
    struct request_line line;
    bool has_head;        /* request_begin() was called */
    struct caller caller; /* without an owner: not known, or not needed */
    bool is_head;
    int method;   /* by metrics_method() */
    double began; /* monotonic; its headers had come */

    int64_t job;                    /* {id} of the path */
    char name[REQUEST_NAME_SIZE];   /* {name} or {asset} of the path */
    char folder[REQUEST_NAME_SIZE]; /* {org} or {folder} of the path; else "" */

    struct strbuf body; /* at most WIRE_BODY_MAX bytes */

    unsigned refusal; /* HTTP status to answer without asking the route's handler; 0: none */
    struct failure failure;
    char allow[32];  /* methods, with status 405 */
    bool is_coded;   /* the answer depends on Accept-Encoding */
    bool must_close; /* where the next request begins is not certain: none is read */
};

/* request_new() - a request whose first line has come, for @uri. NULL: out of memory. */
struct request *request_new(struct listener *listener, struct MHD_Connection *connection,
                            const char *uri);
void request_free(struct request *request);

/* request_begin() - its headers have come; they are not checked yet. */
void request_begin(struct request *request, const char *method, const char *version);

/* request_must_refuse_now() - must the answer go out before the body is read? */
bool request_must_refuse_now(const struct request *request);

/*
 * request_take() - the next @size bytes of the body; what is too long is dropped, so that the
 * client gets to read its 413. For how long it may go on is the intake's. Return: false when out
 * of memory.
 */
bool request_take(struct request *request, const char *data, size_t size);

/* request_header() - value of the first header @name, NULL if there is none; borrowed. */
const char *request_header(const struct request *request, const char *name);

/*
 * request_key() - the Idempotency-Key, NULL: none; borrowed. Return: 0, or -EINVAL with the failure
 * when it is not short and printable.
 */
int request_key(const struct request *request, const char **ret_key, struct failure *failure);

/* request_query() - value of ?@name=, "" without a value, NULL if there is none; borrowed. */
const char *request_query(const struct request *request, const char *name);

/*
 * request_query_u64() - ?@name= as a decimal in [@min, @max]; @otherwise when there is none.
 * Return: 0, or -EINVAL with the failure.
 */
int request_query_u64(const struct request *request, const char *name, uint64_t min, uint64_t max,
                      uint64_t otherwise, uint64_t *ret_value, struct failure *failure);

/*
 * request_no_body() - there is nothing that a body could say, so it is {} or missing. Return: 0, or
 * -errno with the failure.
 */
int request_no_body(const struct request *request, struct failure *failure);

/*
 * request_json() - the body as JSON; numbers without a fraction, as 4.0, are integers. Return: 0,
 * or -errno with the failure. The caller owns *ret_body.
 */
int request_json(const struct request *request, json_t **ret_body, struct failure *failure);
