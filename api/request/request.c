// SPDX-License-Identifier: Apache-2.0
#include "api/request/request.h"

#include "api/request/api.h"
#include "api/request/metrics.h"
#include "api/wire.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* A body that is announced to be longer is not read, not even to be dropped. */
#define DRAIN_MAX ((size_t)1 << 20)
#define KEY_MAX 128                  /* characters of an Idempotency-Key */
#define WHOLE_MAX 9007199254740992.0 /* 2^53: above, a double is no exact number */

struct request *request_new(struct listener *listener, struct MHD_Connection *connection,
                            const char *uri) {
    struct request *request = calloc(1, sizeof(*request));

    if (!request)
        return NULL;
    request->api = listener->api;
    request->listener = listener;
    request->connection = connection;
    framing_read_uri(&request->line, uri);
    snprintf(request->id, sizeof(request->id), "%08" PRIx32 "-%08x", request->api->boot,
             atomic_fetch_add(&request->api->n_requests, 1));
    return request;
}

void request_begin(struct request *request, const char *method, const char *version) {
    request->has_head = true;
    request->began = clock_monotonic();
    request->line.method = method;
    request->line.version = version;
    request->method = metrics_method(method);
    request->is_head = strcmp(method, MHD_HTTP_METHOD_HEAD) == 0;
}

void request_free(struct request *request) {
    if (!request)
        return;
    strbuf_done(&request->body);
    free(request);
}

bool request_must_refuse_now(const struct request *request) {
    const char *length = request_header(request, MHD_HTTP_HEADER_CONTENT_LENGTH);
    uint64_t n;

    if (!request->refusal)
        return false;
    /* A client that waits for 100 Continue has not sent the body; one that is too long is not read.
     */
    return request->must_close || request_header(request, MHD_HTTP_HEADER_EXPECT) ||
           (length && str_parse_u64(length, DRAIN_MAX, &n));
}

bool request_take(struct request *request, const char *data, size_t size) {
    if (request->refusal)
        return true;
    if (size <= WIRE_BODY_MAX - request->body.length) {
        strbuf_append(&request->body, data, size);
        return !request->body.failed;
    }
    strbuf_done(&request->body);
    request->refusal = MHD_HTTP_CONTENT_TOO_LARGE;
    failure_set(&request->failure, -EFBIG, "body_too_large", NULL,
                "the body is longer than %d bytes", WIRE_BODY_MAX);
    return true;
}

const char *request_header(const struct request *request, const char *name) {
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

const char *request_query(const struct request *request, const char *name) {
    const char *value = NULL;

    if (MHD_lookup_connection_value_n(request->connection, MHD_GET_ARGUMENT_KIND, name,
                                      strlen(name), &value, NULL) == MHD_NO)
        return NULL;
    return value ? value : "";
}

int request_query_u64(const struct request *request, const char *name, uint64_t min, uint64_t max,
                      uint64_t otherwise, uint64_t *ret_value, struct failure *failure) {
    const char *text = request_query(request, name);
    uint64_t value = otherwise;

    if (text && (str_parse_u64(text, max, &value) || value < min))
        return failure_field(failure, name, NULL,
                             "'%s' is not a number from %" PRIu64 " to %" PRIu64, text, min, max);
    *ret_value = value;
    return 0;
}

/* A whole number may be written as 4.0 (JSON Schema's integer). NULL: @value is none such. */
static json_t *whole_number(const json_t *value) {
    double number = json_real_value(value);

    if (!json_is_real(value) || fabs(number) > WHOLE_MAX || number != trunc(number))
        return NULL;
    return json_integer((json_int_t)number);
}

/* Makes integers of all whole numbers in @value; its depth is bounded. */
static void take_whole_numbers(json_t *value) {
    const char *key;
    json_t *member, *whole;
    size_t i;

    json_object_foreach(value, key, member) {
        whole = whole_number(member);
        if (whole)
            json_object_set_new(value, key, whole);
        else
            take_whole_numbers(member);
    }
    json_array_foreach(value, i, member) {
        whole = whole_number(member);
        if (whole)
            json_array_set_new(value, i, whole);
        else
            take_whole_numbers(member);
    }
}

int request_json(const struct request *request, json_t **ret_body, struct failure *failure) {
    int r = json_parse(request->body.data ? request->body.data : "", request->body.length,
                       "request body", "malformed_json", ret_body, failure);

    if (!r)
        take_whole_numbers(*ret_body);
    return r;
}

int request_key(const struct request *request, const char **ret_key, struct failure *failure) {
    const char *key = request_header(request, "Idempotency-Key");

    if (key && (!*key || strlen(key) > KEY_MAX))
        return failure_field(failure, "Idempotency-Key", NULL, "must have 1 to %d characters",
                             KEY_MAX);
    for (const char *s = key; s && *s; s++)
        if (*s < ' ' || *s > '~')
            return failure_field(failure, "Idempotency-Key", NULL, "must be printable ASCII");
    *ret_key = key;
    return 0;
}

int request_no_body(const struct request *request, struct failure *failure) {
    cleanup(json_decrefp) json_t *body = NULL;
    const char *key;
    json_t *value;
    int r;

    if (request->body.length == 0)
        return 0;
    r = request_json(request, &body, failure);
    if (r)
        return r;
    if (!json_is_object(body))
        return failure_set(failure, -EINVAL, "invalid_parameter", "send {} or no body",
                           "the body is not an object");
    json_object_foreach(body, key, value) {
        return failure_field(failure, key, "send {} or no body", "unknown field");
    }
    return 0;
}
