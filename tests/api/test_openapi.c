// SPDX-License-Identifier: Apache-2.0
/* openapi.json says what the table of routes does, and the answers are of the types it says. */
#include "api/dashboard/assets.h"
#include "api/openapi.h"
#include "api/routes/table.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "base/macros.h"
#include "visit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static json_t *document;

/* What "$ref" stands for, a path of names; anything else is itself. */
static json_t *resolve(json_t *node) {
    const char *ref = json_string_value(json_object_get(node, "$ref"));
    cleanup(freep) char *copy = NULL;
    char *rest = NULL;

    if (!ref)
        return node;
    assert_int_equal(strncmp(ref, "#/components/", 13), 0);
    copy = strdup(ref + 2);
    node = document;
    for (char *name = strtok_r(copy, "/", &rest); name; name = strtok_r(NULL, "/", &rest))
        node = json_object_get(node, name);
    if (!node)
        fail_msg("'%s' is not there", ref);
    return node;
}

static void check_references(json_t *node) {
    const char *key;
    json_t *child;
    size_t i;

    resolve(node);
    json_object_foreach(node, key, child) check_references(child);
    json_array_foreach(node, i, child) check_references(child);
}

/* The members that @schema requires are there. */
static void check_required(json_t *schema, const json_t *value) {
    json_t *part, *name;
    size_t i;

    schema = resolve(schema);
    json_array_foreach(json_object_get(schema, "allOf"), i, part) check_required(part, value);
    json_array_foreach(json_object_get(schema, "required"), i,
                       name) if (!json_object_get(value, json_string_value(name)))
        fail_msg("'%s' is missing", json_string_value(name));
}

static const char *method_of(const struct route *route) {
    static const char *const names[] = {
        [ROUTE_GET] = "get", [ROUTE_POST] = "post", [ROUTE_DELETE] = "delete"};

    return names[route->method];
}

static json_t *operation(const struct route *route) {
    json_t *path = json_object_get(json_object_get(document, "paths"), route->path);

    return json_object_get(path, method_of(route));
}

static void check_parameters(const struct route *route, json_t *parameters) {
    cleanup(freep) char *query = strdup(route->query ? route->query : "");
    char *rest = query;
    int n_query = 0, n_listed = 0;
    json_t *parameter;
    size_t i;

    for (char *name = strtok_r(query, " ", &rest); name; name = strtok_r(NULL, " ", &rest)) {
        bool found = false;

        n_query++;
        json_array_foreach(parameters, i, parameter) {
            const char *listed = json_string_value(json_object_get(resolve(parameter), "name"));

            found |= strcmp(listed, name) == 0;
        }
        assert_true(found);
    }
    json_array_foreach(parameters, i, parameter) {
        const char *in = json_string_value(json_object_get(resolve(parameter), "in"));
        const char *name = json_string_value(json_object_get(resolve(parameter), "name"));
        char part[64];

        n_listed += strcmp(in, "query") == 0;
        snprintf(part, sizeof(part), "{%s}", name);
        assert_int_equal(strcmp(in, "path") == 0, strstr(route->path, part) != NULL);
    }
    assert_int_equal(n_query, n_listed);
}

/* The document says which role an operation needs; a request without a token is none of bearer's.
 */
static void check_security(const struct route *route, json_t *security) {
    json_t *roles = json_object_get(json_array_get(security, 0), "bearer");

    assert_true(json_is_array(security));
    assert_int_equal(json_array_size(security), route->is_public ? 0 : 2);
    if (!route->is_public)
        assert_string_equal(json_string_value(json_array_get(roles, 0)), role_name(route->needs));
}

/* Each route is in the document, with its parameters; and nothing else is. */
static void test_routes_are_listed(void **state) {
    size_t n = 0;
    const char *path, *method;
    json_t *methods, *node;

    (void)state;
    check_references(document);
    for (size_t i = 0; i < n_routes; i++) {
        json_t *found = operation(&routes[i]);

        assert_non_null(found);
        check_security(&routes[i], json_object_get(found, "security"));
        check_parameters(&routes[i], json_object_get(found, "parameters"));
    }
    json_object_foreach(json_object_get(document, "paths"), path, methods)
        json_object_foreach(methods, method, node) n++;
    assert_int_equal(n, n_routes);
}

/* "/v1/jobs/{id}/x" as "/v1/jobs/1/x". */
static void fill_in(const char *pattern, char *path, size_t size) {
    static const char *const parts[][2] = {{"/backup/{name}", "/backup/quantd.db"},
                                           {"{id}", "1"},
                                           {"{org}", "org"},
                                           {"{name}", "quantd.json"},
                                           {"{folder}/{asset}", "lib/dom.js"},
                                           {"{asset}", "main.js"}};
    size_t n = 0;

    path[0] = '\0';
    while (*pattern && n < size) {
        size_t i = 0;

        while (i < ARRAY_SIZE(parts) && strncmp(pattern, parts[i][0], strlen(parts[i][0])))
            i++;
        if (i < ARRAY_SIZE(parts)) {
            n += (size_t)snprintf(path + n, size - n, "%s", parts[i][1]);
            pattern += strlen(parts[i][0]);
        } else {
            n += (size_t)snprintf(path + n, size - n, "%c", *pattern++);
        }
    }
}

/* @answer is one that @route's operation describes. */
static void check_described(const struct route *route, const struct answer *answer) {
    json_t *responses = json_object_get(operation(route), "responses"), *response, *media;
    cleanup(json_decrefp) json_t *body = NULL;
    char status[16], buffer[128], *type = buffer;

    snprintf(status, sizeof(status), "%ld", answer->status);
    response = resolve(json_object_get(responses, status));
    if (!response)
        fail_msg("%s does not describe status %s", route->path, status);
    if (!json_object_get(response, "content")) {
        assert_int_equal(answer->body.length, 0);
        return;
    }
    answer_header(answer, "Content-Type", buffer, sizeof(buffer));
    type[strcspn(type, ";")] = '\0';
    media = json_object_get(json_object_get(response, "content"), type);
    if (!media)
        fail_msg("%s does not describe %s as '%s'", route->path, status, type);
    if (strcmp(type, "application/json") && strcmp(type, "application/problem+json"))
        return;
    assert_int_equal(json_parse(answer->body.data, answer->body.length, "answer", "x", &body, NULL),
                     0);
    check_required(json_object_get(media, "schema"), body);
}

static struct answer ask(struct site *site, const struct route *route, const char *accept,
                         const char *path) {
    struct visit request = {.path = path,
                            .headers = {accept},
                            .method = route->method == ROUTE_DELETE ? "DELETE" : NULL,
                            .over_unix = true};

    if (route->method == ROUTE_POST) {
        request.body = route->body_is_optional     ? "{}"
                       : strstr(path, "/priority") ? "{\"priority\": 1}"
                                                   : "{\"model\": \"a/b\", \"name\": \"n\"}";
        request.headers[1] = "Content-Type: application/json";
    }
    return visit(site, request);
}

static void test_answers_are_described(void **state) {
    struct site *site = *state;
    char path[128];

    for (size_t i = 0; i < n_routes; i++) {
        const struct route *route = &routes[i];
        struct answer answer;

        if (n_assets == 0 && strstr(route->path, "{asset}"))
            continue; /* built without the dashboard */
        fill_in(route->path, path, sizeof(path));
        /* What is done to jobs that have ended. */
        fake_set_status(site->fake, 1,
                        route->method == ROUTE_DELETE || strstr(path, "/retry") ? "failed"
                                                                                : "running");
        answer = ask(site, route, "Accept: */*", path);
        if (answer.status < 200 || answer.status > 204)
            fail_msg("%s: %ld %s", path, answer.status, answer.body.data);
        check_described(route, &answer);
        answer_done(&answer);
        if (route->type) {
            answer = ask(site, route, "Accept: image/png", path);
            assert_int_equal(answer.status, 406);
            check_described(route, &answer);
            answer_done(&answer);
        }
        if (route->query) {
            snprintf(path + strlen(path), sizeof(path) - strlen(path), "?limit=x");
            answer = ask(site, route, "Accept: */*", path);
            assert_int_equal(answer.status, 422);
            check_described(route, &answer);
            answer_done(&answer);
        }
    }
}

static void test_missing_job_is_described(void **state) {
    char path[128];

    for (size_t i = 0; i < n_routes; i++) {
        struct answer answer;
        char *id;

        fill_in(routes[i].path, path, sizeof(path));
        id = strstr(path, "/1");
        if (!id)
            continue;
        id[1] = '9';
        answer = ask(*state, &routes[i], "Accept: */*", path);
        assert_int_equal(answer.status, 404);
        check_described(&routes[i], &answer);
        answer_done(&answer);
    }
}

static int open_site(void **state) {
    struct site *site = site_open();

    fake_job(site->fake);
    *state = site;
    return json_parse(openapi_json, openapi_json_size, "openapi.json", "x", &document, NULL);
}

static int close_site(void **state) {
    json_decref(document);
    site_close(*state);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_routes_are_listed),
        cmocka_unit_test(test_answers_are_described),
        cmocka_unit_test(test_missing_job_is_described),
    };

    curl_global_init(CURL_GLOBAL_DEFAULT);
    return cmocka_run_group_tests(tests, open_site, close_site);
}
