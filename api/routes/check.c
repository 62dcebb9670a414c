// SPDX-License-Identifier: Apache-2.0
#include "api/routes/check.h"

#include "api/header/media.h"
#include "api/request/api.h"
#include "api/request/caller.h"
#include "api/request/problem.h"
#include "api/request/refusal.h"
#include "api/routes/table.h"
#include "api/wire.h"
#include "base/str.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool refuse(struct request *request, unsigned status, const char *code, const char *hint,
                   const char *format, ...) printf_format(5, 6);

/* Always false, so that a check can end with it. */
static bool refuse(struct request *request, unsigned status, const char *code, const char *hint,
                   const char *format, ...) {
    char detail[sizeof(request->failure.detail)];
    va_list args;

    va_start(args, format);
    vsnprintf(detail, sizeof(detail), format, args);
    va_end(args);
    request->refusal = status;
    failure_set(&request->failure, -1, code, hint, "%s", detail);
    return false;
}

/* Bytes of the host in "HOST:PORT", "[::1]:PORT" or either without a port. */
static size_t host_size(const char *host) {
    const char *end = host[0] == '[' ? strchr(host, ']') : NULL;

    return end ? (size_t)(end + 1 - host) : strcspn(host, ":");
}

static bool is_port(const char *s) {
    return !*s || (*s == ':' && strlen(s) <= 6 && strspn(s + 1, "0123456789") == strlen(s + 1));
}

/* Names that no DNS answer can bend: localhost and numbers. */
static bool is_loopback_host(const char *host, size_t size) {
    struct in_addr address;
    char text[INET_ADDRSTRLEN];

    if (size == 9 && strncasecmp(host, "localhost", 9) == 0)
        return true;
    if (size == 5 && strncmp(host, "[::1]", 5) == 0)
        return true;
    if (size >= sizeof(text))
        return false;
    memcpy(text, host, size);
    text[size] = '\0';
    return inet_pton(AF_INET, text, &address) == 1 && ntohl(address.s_addr) >> 24 == 127;
}

/* Does @allowed, as the configuration has it, stand for @host? Without a port, for any. */
static bool fits_host(const char *allowed, const char *host) {
    bool any_port = host_size(allowed) == strlen(allowed);
    size_t n = any_port ? host_size(host) : strlen(host);

    return strlen(allowed) == n && strncasecmp(host, allowed, n) == 0;
}

static bool is_allowed_host(struct api *api, const char *host) {
    size_t size = host_size(host);

    return is_port(host + size) &&
           (is_loopback_host(host, size) || names_any(&api->allowed_hosts, fits_host, host));
}

static enum MHD_Result count_host(void *arg, enum MHD_ValueKind kind, const char *key,
                                  const char *value) {
    (void)kind;
    (void)value;
    if (strcasecmp(key, MHD_HTTP_HEADER_HOST) == 0)
        ++*(int *)arg;
    return MHD_YES;
}

static bool check_framing(struct request *request) {
    const char *wrong = framing_check(request->connection, &request->line);

    if (!wrong)
        return true;
    request->must_close = true;
    return refuse(request, MHD_HTTP_BAD_REQUEST, "bad_request", NULL, "%s", wrong);
}

/* A web page whose name was pointed at this machine must not speak for the user. */
static bool check_host(struct request *request) {
    const char *host = request_header(request, MHD_HTTP_HEADER_HOST);
    int n = 0;

    MHD_get_connection_values(request->connection, MHD_HEADER_KIND, count_host, &n);
    request->must_close = n > 1;
    if (n > 1)
        return refuse(request, MHD_HTTP_BAD_REQUEST, "bad_request", NULL,
                      "the request has %d Host headers", n);
    if (request->listener->endpoint.is_unix || (host && is_allowed_host(request->api, host)))
        return true;
    return refuse(request, MHD_HTTP_MISDIRECTED_REQUEST, "host_not_allowed",
                  "ask for localhost or a loopback address, or allow the name in the "
                  "configuration",
                  "the host '%s' is not allowed", host ? host : "");
}

static bool check_route(struct request *request, const char *method, const char *url) {
    enum route_match match = route_find(method, url, request);

    if (match == ROUTE_FOUND)
        return true;
    if (match == ROUTE_OTHER_METHOD)
        return refuse(request, MHD_HTTP_METHOD_NOT_ALLOWED, "method_not_allowed",
                      "the Allow header has the methods", "cannot %s '%s'", method, url);
    return refuse(request, MHD_HTTP_NOT_FOUND, "not_found", "/openapi.json lists all paths",
                  "nothing is at '%s'", url);
}

/* Before any answer shows what is there. */
static bool check_caller(struct request *request) {
    struct failure failure = {};
    int r;

    if (request->route->is_public)
        return true;
    r = caller_find(request, &request->caller, &failure);
    if (r)
        return refuse(request, r == -EACCES ? MHD_HTTP_UNAUTHORIZED : problem_status(r),
                      failure.code, failure.hint, "%s", failure.detail);
    if (request->caller.role >= request->route->needs)
        return true;
    return refuse(request, MHD_HTTP_FORBIDDEN, "forbidden",
                  "ask an admin of quantd; GET /v1/whoami shows who you are to it",
                  "'%s' has the role '%s', and this needs '%s'", request->caller.owner,
                  role_name(request->caller.role), role_name(request->route->needs));
}

/* A browser names the page that makes it change something; only one of our own may. */
static bool check_origin(struct request *request) {
    const char *origin = request_header(request, "Origin");
    const char *host = request_header(request, MHD_HTTP_HEADER_HOST), *authority;

    if (request->route->method == ROUTE_GET || !origin)
        return true;
    authority = strstr(origin, "://");
    if (authority && host && strcasecmp(authority + 3, host) == 0)
        return true;
    return refuse(request, MHD_HTTP_FORBIDDEN, "origin_not_allowed",
                  "send no Origin header, or use the page that quantd itself serves",
                  "a page of '%s' may not change anything here", origin);
}

/* Is the list @names, with spaces between, NULL or without @name? */
static bool lacks(const char *names, const char *name) {
    size_t n = strlen(name);

    for (const char *s = names; s && n; s = strchr(s, ' ')) {
        s += *s == ' ';
        if (strncmp(s, name, n) == 0 && (s[n] == ' ' || !s[n]))
            return false;
    }
    return true;
}

static enum MHD_Result check_parameter(void *arg, enum MHD_ValueKind kind, const char *key,
                                       const char *value) {
    struct request *request = arg;

    (void)kind;
    (void)value;
    if (!lacks(request->route->query, key))
        return MHD_YES;
    refuse(request, MHD_HTTP_UNPROCESSABLE_CONTENT, "invalid_parameter",
           "see /openapi.json for the parameters", "unknown parameter '%s'", key);
    snprintf(request->failure.field, sizeof(request->failure.field), "%s", key);
    str_make_printable(request->failure.field);
    return MHD_NO;
}

static bool check_query(struct request *request) {
    MHD_get_connection_values(request->connection, MHD_GET_ARGUMENT_KIND, check_parameter, request);
    return !request->refusal;
}

static bool check_accept(struct request *request) {
    const char *accept = request_header(request, MHD_HTTP_HEADER_ACCEPT);
    const struct route *route = request->route;

    if (!route->type || media_accepts(accept, route->type) ||
        (route->also && media_accepts(accept, route->also)))
        return true;
    return refuse(request, MHD_HTTP_NOT_ACCEPTABLE, "not_acceptable", NULL,
                  "this is answered as '%s'%s%s, and Accept rules that out", route->type,
                  route->also ? " or " : "", route->also ? route->also : "");
}

/* Is a body announced? Sets *ret_length when its length is. */
static bool has_body(const struct request *request, uint64_t *ret_length) {
    const char *length = request_header(request, MHD_HTTP_HEADER_CONTENT_LENGTH);

    if (request_header(request, MHD_HTTP_HEADER_TRANSFER_ENCODING))
        return true;
    if (!length)
        return false;
    if (str_parse_u64(length, UINT64_MAX, ret_length))
        *ret_length = UINT64_MAX;
    return *ret_length > 0;
}

/* JSON only: a form that another site's page submits cannot be of that type. */
static bool check_body(struct request *request) {
    uint64_t length = 0;
    bool body = has_body(request, &length);

    if (request->route->method != ROUTE_POST || (!body && request->route->body_is_optional))
        return true;
    if (!media_is(request_header(request, MHD_HTTP_HEADER_CONTENT_TYPE), WIRE_JSON))
        return refuse(request, MHD_HTTP_UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type",
                      "send Content-Type: " WIRE_JSON, "the body must be of type '%s'", WIRE_JSON);
    if (length > WIRE_BODY_MAX)
        return refuse(request, MHD_HTTP_CONTENT_TOO_LARGE, "body_too_large", NULL,
                      "the body is longer than %d bytes", WIRE_BODY_MAX);
    return true;
}

static void check(struct request *request, const char *method, const char *url) {
    if (!check_framing(request) || !check_host(request) || !check_route(request, method, url) ||
        !check_caller(request) || !check_origin(request) || !check_query(request) ||
        !check_accept(request))
        return;
    check_body(request);
}

void request_check(struct request *request, const char *method, const char *url) {
    check(request, method, url);
    refusal_log(request, request->refusal, request->failure.code);
}
