// SPDX-License-Identifier: Apache-2.0
#include "api/routes.h"

#include "api/wire.h"
#include "base/macros.h"
#include "base/str.h"

#include <stdio.h>
#include <string.h>

const struct route routes[] = {
    {"/", root_get, .type = "text/plain", .also = WIRE_HTML, .is_public = true},
    {"/assets/{asset}", asset_get, .is_public = true},
    {"/healthz", health_get, .type = WIRE_JSON, .is_public = true},
    {"/metrics", metrics_get, .type = "text/plain"},
    {"/readyz", ready_get, .type = WIRE_JSON, .is_public = true},
    {"/openapi.json", openapi_get, .type = WIRE_JSON, .is_public = true},
    {"/v1/version", version_get, .type = WIRE_JSON},
    {"/v1/whoami", whoami_get, .type = WIRE_JSON},
    {"/v1/tokens", tokens_get, .type = WIRE_JSON, .needs = ROLE_ADMIN},
    {"/v1/tokens", tokens_post, .type = WIRE_JSON, .is_post = true, .needs = ROLE_ADMIN},
    {"/v1/tokens/{name}", token_delete, .is_delete = true, .needs = ROLE_ADMIN},
    {"/v1/devices", devices_get, .type = WIRE_JSON},
    {"/v1/status", status_get, .type = WIRE_JSON},
    {"/v1/events", events_get, "after limit", WIRE_JSON, .also = WIRE_EVENT_STREAM},
    {"/v1/jobs", jobs_get, "status owner kind text limit after", WIRE_JSON},
    {"/v1/jobs", jobs_post, .type = WIRE_JSON, .is_post = true, .needs = ROLE_SUBMIT},
    {"/v1/jobs/{id}", job_get, .type = WIRE_JSON},
    {"/v1/jobs/{id}", job_delete, .is_delete = true, .needs = ROLE_SUBMIT},
    {"/v1/jobs/{id}/cancel", job_cancel, .type = WIRE_JSON, .is_post = true,
     .body_is_optional = true, .needs = ROLE_SUBMIT},
    {"/v1/jobs/{id}/retry", job_retry, .type = WIRE_JSON, .is_post = true, .body_is_optional = true,
     .needs = ROLE_SUBMIT},
    {"/v1/jobs/{id}/events", job_events_get, "after limit", WIRE_JSON, .also = WIRE_EVENT_STREAM},
    {"/v1/jobs/{id}/layers", job_layers_get, .type = WIRE_JSON},
    {"/v1/jobs/{id}/artifacts", artifacts_get, .type = WIRE_JSON},
    {"/v1/jobs/{id}/artifacts/{name}", artifact_get},
    {"/v1/backup", backup_get, .type = WIRE_JSON, .needs = ROLE_ADMIN},
    {"/v1/backup", backup_post, .type = WIRE_JSON, .is_post = true, .body_is_optional = true,
     .needs = ROLE_ADMIN},
    {"/v1/backup/{name}", backup_file_get, .needs = ROLE_ADMIN},
    {"/v1/models", models_get, .type = WIRE_JSON},
    {"/v1/models/{org}/{name}", model_delete, .type = WIRE_JSON, .is_delete = true,
     .needs = ROLE_ADMIN},
};
const size_t n_routes = ARRAY_SIZE(routes);

static bool take_name(char name[REQUEST_NAME_SIZE], const char *text, size_t size) {
    if (size >= REQUEST_NAME_SIZE)
        return false;
    memcpy(name, text, size);
    name[size] = '\0';
    return str_is_safe_name(name);
}

/* The part of a path that stands for @part of a pattern; false: it cannot. */
static bool take_part(struct request *request, const char *part, size_t part_size, const char *text,
                      size_t size) {
    char number[24];
    uint64_t id;

    if (part_size == 4 && memcmp(part, "{id}", 4) == 0) {
        if (size == 0 || size >= sizeof(number))
            return false;
        memcpy(number, text, size);
        number[size] = '\0';
        if (str_parse_u64(number, INT64_MAX, &id) || id == 0)
            return false;
        request->job = (int64_t)id;
        return true;
    }
    if ((part_size == 6 && memcmp(part, "{name}", 6) == 0) ||
        (part_size == 7 && memcmp(part, "{asset}", 7) == 0))
        return take_name(request->name, text, size);
    if (part_size == 5 && memcmp(part, "{org}", 5) == 0)
        return take_name(request->org, text, size);
    return size == part_size && memcmp(part, text, size) == 0;
}

static bool path_matches(struct request *request, const char *pattern, const char *path) {
    while (*pattern == '/' && *path == '/') {
        size_t pattern_size = strcspn(++pattern, "/"), size = strcspn(++path, "/");

        if (!take_part(request, pattern, pattern_size, path, size))
            return false;
        pattern += pattern_size;
        path += size;
    }
    return !*pattern && !*path;
}

static void allow(struct request *request, const struct route *route) {
    size_t n = strlen(request->allow);

    snprintf(request->allow + n, sizeof(request->allow) - n, "%s%s", n ? ", " : "",
             route->is_post     ? "POST"
             : route->is_delete ? "DELETE"
                                : "GET, HEAD");
}

enum route_match route_find(const char *method, const char *path, struct request *request) {
    bool post = strcmp(method, "POST") == 0;
    bool get = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
    bool delete = strcmp(method, "DELETE") == 0;

    for (size_t i = 0; i < n_routes; i++) {
        if (!path_matches(request, routes[i].path, path))
            continue;
        if (routes[i].is_post ? post : routes[i].is_delete ? delete : get) {
            request->route = &routes[i];
            request->allow[0] = '\0';
            return ROUTE_FOUND;
        }
        allow(request, &routes[i]);
    }
    return request->allow[0] ? ROUTE_OTHER_METHOD : ROUTE_NONE;
}
