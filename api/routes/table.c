// SPDX-License-Identifier: Apache-2.0
#include "api/routes/table.h"

#include "api/wire.h"
#include "base/macros.h"
#include "base/str.h"

#include <stdio.h>
#include <string.h>

const struct route routes[] = {
    {"/", root_get, .type = "text/plain", .also = WIRE_HTML, .is_public = true},
    {"/assets/{asset}", asset_get, .is_public = true},
    {"/assets/{folder}/{asset}", asset_get, .is_public = true},
    {"/healthz", health_get, .type = WIRE_JSON, .is_public = true},
    {"/metrics", metrics_get, .type = "text/plain"},
    {"/readyz", ready_get, .type = WIRE_JSON, .is_public = true},
    {"/openapi.json", openapi_get, .type = WIRE_JSON, .is_public = true},
    {"/v1/version", version_get, .type = WIRE_JSON},
    {"/v1/whoami", whoami_get, .type = WIRE_JSON},
    {"/v1/tokens", tokens_get, .type = WIRE_JSON, .needs = ROLE_ADMIN},
    {"/v1/tokens", tokens_post, .type = WIRE_JSON, .method = ROUTE_POST, .needs = ROLE_ADMIN},
    {"/v1/tokens/{name}", token_delete, .method = ROUTE_DELETE, .needs = ROLE_ADMIN},
    {"/v1/devices", devices_get, .type = WIRE_JSON},
    {"/v1/status", status_get, .type = WIRE_JSON},
    {"/v1/events", events_get, .query = "after limit", .type = WIRE_JSON,
     .also = WIRE_EVENT_STREAM},
    {"/v1/jobs", jobs_get,
     .query = "status owner kind text label method wbits perplexity_min perplexity_max group sort "
              "limit after",
     .type = WIRE_JSON},
    {"/v1/jobs", jobs_post, .type = WIRE_JSON, .method = ROUTE_POST, .needs = ROLE_SUBMIT},
    {"/v1/estimate", estimate_post, .type = WIRE_JSON, .method = ROUTE_POST, .needs = ROLE_SUBMIT},
    {"/v1/groups", groups_get, .query = "owner limit after", .type = WIRE_JSON},
    {"/v1/groups", groups_post, .type = WIRE_JSON, .method = ROUTE_POST, .needs = ROLE_SUBMIT},
    {"/v1/groups/estimate", group_estimate_post, .type = WIRE_JSON, .method = ROUTE_POST,
     .needs = ROLE_SUBMIT},
    {"/v1/groups/{id}", group_get, .type = WIRE_JSON},
    {"/v1/groups/{id}/cancel", group_cancel, .type = WIRE_JSON, .method = ROUTE_POST,
     .body_is_optional = true, .needs = ROLE_SUBMIT},
    {"/v1/groups/{id}/hold", group_hold, .type = WIRE_JSON, .method = ROUTE_POST,
     .body_is_optional = true, .needs = ROLE_SUBMIT},
    {"/v1/groups/{id}/release", group_release, .type = WIRE_JSON, .method = ROUTE_POST,
     .body_is_optional = true, .needs = ROLE_SUBMIT},
    {"/v1/groups/{id}/priority", group_priority, .type = WIRE_JSON, .method = ROUTE_POST,
     .needs = ROLE_SUBMIT},
    {"/v1/jobs/{id}", job_get, .type = WIRE_JSON},
    {"/v1/jobs/{id}", job_delete, .method = ROUTE_DELETE, .needs = ROLE_SUBMIT},
    {"/v1/jobs/{id}/cancel", job_cancel, .type = WIRE_JSON, .method = ROUTE_POST,
     .body_is_optional = true, .needs = ROLE_SUBMIT},
    {"/v1/jobs/{id}/hold", job_hold, .type = WIRE_JSON, .method = ROUTE_POST,
     .body_is_optional = true, .needs = ROLE_SUBMIT},
    {"/v1/jobs/{id}/release", job_release, .type = WIRE_JSON, .method = ROUTE_POST,
     .body_is_optional = true, .needs = ROLE_SUBMIT},
    {"/v1/jobs/{id}/priority", job_priority, .type = WIRE_JSON, .method = ROUTE_POST,
     .needs = ROLE_SUBMIT},
    {"/v1/jobs/{id}/retry", job_retry, .type = WIRE_JSON, .method = ROUTE_POST,
     .body_is_optional = true, .needs = ROLE_SUBMIT},
    {"/v1/jobs/{id}/events", job_events_get, .query = "after limit", .type = WIRE_JSON,
     .also = WIRE_EVENT_STREAM},
    {"/v1/jobs/{id}/layers", job_layers_get, .type = WIRE_JSON},
    {"/v1/jobs/{id}/windows", job_windows_get, .type = WIRE_JSON},
    {"/v1/jobs/{id}/artifacts", artifacts_get, .type = WIRE_JSON},
    {"/v1/jobs/{id}/artifacts/{name}", artifact_get},
    {"/v1/backup", backup_get, .type = WIRE_JSON, .needs = ROLE_ADMIN},
    {"/v1/backup", backup_post, .type = WIRE_JSON, .method = ROUTE_POST, .body_is_optional = true,
     .needs = ROLE_ADMIN},
    {"/v1/backup/{name}", backup_file_get, .needs = ROLE_ADMIN},
    {"/v1/orphans", orphans_get, .query = "limit after", .type = WIRE_JSON, .needs = ROLE_ADMIN},
    {"/v1/orphans/{id}/adopt", orphan_adopt_post, .type = WIRE_JSON, .method = ROUTE_POST,
     .body_is_optional = true, .needs = ROLE_ADMIN},
    {"/v1/models", models_get, .type = WIRE_JSON},
    {"/v1/datasets", datasets_get, .type = WIRE_JSON},
    {"/v1/models/{org}/{name}", model_delete, .type = WIRE_JSON, .method = ROUTE_DELETE,
     .needs = ROLE_ADMIN},
};
const size_t n_routes = ARRAY_SIZE(routes);

/* A part of a path that stands for something; false: @text cannot be it. */
static bool take_id(struct request *request, const char *text, size_t size) {
    char number[24];
    uint64_t id;

    if (size >= sizeof(number))
        return false;
    memcpy(number, text, size);
    number[size] = '\0';
    if (str_parse_u64(number, INT64_MAX, &id) || id == 0)
        return false;
    request->job = (int64_t)id;
    return true;
}

static bool copy_name(char name[REQUEST_NAME_SIZE], const char *text, size_t size) {
    if (size >= REQUEST_NAME_SIZE)
        return false;
    memcpy(name, text, size);
    name[size] = '\0';
    return str_is_safe_name(name);
}

static bool take_name(struct request *request, const char *text, size_t size) {
    return copy_name(request->name, text, size);
}

static bool take_folder(struct request *request, const char *text, size_t size) {
    return copy_name(request->folder, text, size);
}

static const struct {
    const char *pattern;
    bool (*take)(struct request *request, const char *text, size_t size);
} path_parts[] = {
    {"{id}", take_id},      {"{name}", take_name},     {"{asset}", take_name},
    {"{org}", take_folder}, {"{folder}", take_folder},
};

/* The part of a path, @text, that stands where a pattern has @part; false: it cannot. */
static bool take_part(struct request *request, const char *part, size_t part_size, const char *text,
                      size_t size) {
    for (size_t i = 0; i < ARRAY_SIZE(path_parts); i++)
        if (strlen(path_parts[i].pattern) == part_size &&
            memcmp(path_parts[i].pattern, part, part_size) == 0)
            return path_parts[i].take(request, text, size);
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

static const struct {
    const char *name;
    enum route_method method;
} methods[] = {
    {MHD_HTTP_METHOD_GET, ROUTE_GET},
    {MHD_HTTP_METHOD_HEAD, ROUTE_GET},
    {MHD_HTTP_METHOD_POST, ROUTE_POST},
    {MHD_HTTP_METHOD_DELETE, ROUTE_DELETE},
};

/* Appends the methods that @route takes to the Allow header. */
static void allow(struct request *request, const struct route *route) {
    for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
        size_t n = strlen(request->allow);

        if (methods[i].method == route->method)
            snprintf(request->allow + n, sizeof(request->allow) - n, "%s%s", n ? ", " : "",
                     methods[i].name);
    }
}

static bool takes_method(const struct route *route, const char *method) {
    for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
        if (strcmp(methods[i].name, method) == 0)
            return methods[i].method == route->method;
    return false;
}

enum route_match route_find(const char *method, const char *path, struct request *request) {
    for (size_t i = 0; i < n_routes; i++) {
        if (!path_matches(request, routes[i].path, path))
            continue;
        if (takes_method(&routes[i], method)) {
            request->route = &routes[i];
            request->allow[0] = '\0';
            return ROUTE_FOUND;
        }
        allow(request, &routes[i]);
    }
    return request->allow[0] ? ROUTE_OTHER_METHOD : ROUTE_NONE;
}
