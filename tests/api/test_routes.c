// SPDX-License-Identifier: Apache-2.0
/* Every route and every refusal, over real sockets. */
#include "api/routes/table.h"
#include "api/wire.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "check.h"

#include <errno.h>
#include <pwd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void test_plain_gets(void **state) {
    static const char *const paths[] = {"/",
                                        "/healthz",
                                        "/openapi.json",
                                        "/v1/version",
                                        "/readyz",
                                        "/v1/devices",
                                        "/v1/status",
                                        "/v1/jobs/1",
                                        "/v1/jobs/1/artifacts",
                                        "/v1/jobs/1/layers",
                                        "/v1/jobs/1/windows",
                                        "/v1/jobs",
                                        "/v1/jobs/1/events",
                                        "/v1/events",
                                        "/v1/jobs/1/artifacts/empty"};
    static const char *const methods[] = {NULL, "HEAD"};

    for (size_t i = 0; i < ARRAY_SIZE(paths) * 4; i++) {
        struct answer answer =
            ASK(.method = methods[i % 2], .path = paths[i / 4], .over_unix = i % 4 > 1);
        char buffer[64];

        assert_int_equal(answer.result, CURLE_OK);
        assert_int_equal(answer.status, 200);
        assert_true(answer_header(&answer, "X-Request-Id", buffer, sizeof(buffer))[0]);
        check_header(&answer, "X-Content-Type-Options", "nosniff");
        if (i % 2 == 0 && i / 4 > 0 && i / 4 < 14) {
            cleanup(json_decrefp) json_t *body = parse(&answer);

            assert_true(json_is_object(body));
        } else if (i % 2) {
            assert_int_equal(answer.body.length, 0);
        }
        answer_done(&answer);
    }
}

static void test_not_found(void **state) {
    static const char *const paths[] = {"/v1",
                                        "/v1/",
                                        "/v1/jobs/",
                                        "/v1/jobs/x",
                                        "/v1/jobs/0",
                                        "/v1/jobs/-1",
                                        "/v1/jobs/1x",
                                        "/v1/jobs/1/nothing",
                                        "//",
                                        "/v1//jobs",
                                        "/V1/jobs",
                                        "/v1/jobs/99999999999999999999999999",
                                        "/v1/jobs/1/artifacts/..",
                                        "/v1/jobs/1/artifacts/../../x",
                                        "/v1/jobs/1/artifacts/%2e%2e%2fx",
                                        "/v1/jobs/1/artifacts/.hidden",
                                        "/v1/jobs/1/artifacts/a%0ab"};
    static const char *const missing[] = {"/v1/jobs/77", "/v1/jobs/77/events", "/v1/jobs/77/layers",
                                          "/v1/jobs/77/artifacts", "/v1/jobs/77/artifacts/x"};

    for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
        check_problem(ASK(.path = paths[i]), 404, "not_found");
    for (size_t i = 0; i < ARRAY_SIZE(missing); i++)
        check_problem(ASK(.path = missing[i]), 404, "job_not_found");
    check_problem(ASK(.path = "/v1/jobs/77/events", .headers = {"Accept: text/event-stream"}), 404,
                  "job_not_found");
    check_problem(ASK(.path = "/v1/jobs/77/cancel", .method = "POST"), 404, "job_not_found");
    check_problem(ASK(.path = "/v1/jobs/77/retry", .method = "POST"), 404, "job_not_found");
    check_problem(ASK(.path = "/v1/jobs/77", .method = "DELETE"), 404, "job_not_found");
    check_problem(ASK(.path = "/v1/jobs/1/artifacts/nothing"), 404, "not_found");
}

static void check_allow(struct answer answer, const char *allow) {
    check_header(&answer, "Allow", allow);
    check_problem(answer, 405, "method_not_allowed");
}

static void test_methods(void **state) {
    struct answer answer;

    check_allow(ASK(.path = "/v1/jobs", .method = "DELETE"), "GET, HEAD, POST");
    check_allow(ASK(.path = "/v1/jobs", .method = "OPTIONS"), "GET, HEAD, POST");
    check_allow(ASK(.path = "/v1/jobs/1", .method = "PUT"), "GET, HEAD, DELETE");
    check_allow(ASK(.path = "/v1/jobs/1", .method = "POST", .body = "x"), "GET, HEAD, DELETE");
    check_allow(ASK(.path = "/v1/jobs/1/layers", .method = "DELETE"), "GET, HEAD");
    check_allow(ASK(.path = "/v1/jobs/1/retry"), "POST");
    answer = ASK(.path = "/v1/jobs/1/retry", .method = "HEAD");
    assert_int_equal(answer.status, 405);
    check_header(&answer, "Allow", "POST");
    answer_done(&answer);
    check_allow(ASK(.path = "/readyz", .method = "POST", .body = "x"), "GET, HEAD");
    check_allow(ASK(.path = "/v1/jobs/1/cancel"), "POST");
    check_allow(ASK(.path = "/v1/models", .method = "DELETE"), "GET, HEAD");
    check_allow(ASK(.path = "/v1/models/org/name"), "DELETE");
    check_allow(ASK(.path = "/v1/jobs/1/cancel", .method = "BREW"), "POST");
    check_problem(ASK(.path = "/nothing", .method = "DELETE"), 404, "not_found");
}

static void test_estimate(void **state) {
    struct answer answer =
        ASK(.path = "/v1/estimate", .headers = {JSON_TYPE}, .body = "{\"model\": \"a\"}");
    cleanup(json_decrefp) json_t *estimate = parse(&answer);

    assert_int_equal(answer.status, 200);
    assert_string_equal(json_string_value(json_object_get(estimate, "object")), "estimate");
    check_problem(ASK(.path = "/v1/estimate", .headers = {JSON_TYPE}, .body = "{}"), 422,
                  "invalid_parameter");
    check_problem(ASK(.path = "/v1/estimate", .headers = {JSON_TYPE}, .body = "{"), 400,
                  "malformed_json");
    check_allow(ASK(.path = "/v1/estimate"), "POST");
    answer_done(&answer);
}

static void test_submit(void **state) {
    struct answer answer = ASK(.path = "/v1/jobs", .headers = {JSON_TYPE, "Idempotency-Key: k1"},
                               .body = "{\"model\": \"a/b\"}");
    cleanup(json_decrefp) json_t *job = parse(&answer), *again = NULL;
    char location[64], expected[64];
    int64_t id = json_integer_value(json_object_get(job, "id"));

    assert_int_equal(answer.status, 202);
    snprintf(expected, sizeof(expected), "/v1/jobs/%d", (int)id);
    assert_string_equal(answer_header(&answer, "Location", location, sizeof(location)), expected);
    assert_string_equal(text_of(job, "owner"), "local");
    answer_done(&answer);

    answer =
        ASK(.path = "/v1/jobs", .body = "{\"model\": \"a/b\"}",
            .headers = {"Content-Type: Application/JSON; charset=utf-8", "Idempotency-Key: k1"});
    again = parse(&answer);
    assert_int_equal(answer.status, 202);
    assert_true(json_equal(job, again));
    answer_done(&answer);

    check_problem(ASK(.path = "/v1/jobs", .headers = {JSON_TYPE, "Idempotency-Key;"},
                      .body = "{\"model\": \"a/b\"}"),
                  422, "invalid_parameter");
    check_problem(ASK(.path = "/v1/jobs", .headers = {JSON_TYPE}, .body = "{\"model\": 1}"), 422,
                  "invalid_parameter");
}

static void test_owner_of_unix_socket(void **state) {
    const struct passwd *user = getpwuid(getuid());
    struct answer answer = ASK(.path = "/v1/jobs", .headers = {JSON_TYPE}, .over_unix = true,
                               .body = "{\"model\": \"a/b\"}");
    cleanup(json_decrefp) json_t *job = parse(&answer);
    char name[80];

    assert_int_equal(answer.status, 202);
    snprintf(name, sizeof(name), "%u", (unsigned)getuid());
    assert_string_equal(text_of(job, "owner"), user ? user->pw_name : name);
    answer_done(&answer);
}

static void test_malformed_json(void **state) {
    static const char *const bodies[] = {
        "{\n  \"model\": ,\n}", "", "nonsense", "{} {}", "{\"a\":1,\"a\":2}", "{\"a\":\"\xff\"}"};
    cleanup(freep) char *deep = malloc(20000);
    struct answer answer;

    for (size_t i = 0; i < ARRAY_SIZE(bodies); i++)
        check_problem(ASK(.path = "/v1/jobs", .headers = {JSON_TYPE}, .body = bodies[i]), 400,
                      "malformed_json");
    memset(deep, '[', 20000);
    check_problem(ASK(.path = "/v1/jobs", .headers = {JSON_TYPE}, .body = deep, .size = 20000), 400,
                  "malformed_json");
    answer = ASK(.path = "/v1/jobs", .headers = {JSON_TYPE}, .body = bodies[0]);
    assert_non_null(strstr(answer.body.data, "line 2 column"));
    answer_done(&answer);
}

static void test_media_types(void **state) {
    static const char *const types[] = {"Content-Type: text/plain", "Content-Type:",
                                        "Content-Type: application/x-www-form-urlencoded",
                                        "Content-Type: application/jsonx"};

    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        check_problem(ASK(.path = "/v1/jobs", .headers = {types[i]}, .body = "{}"), 415,
                      "unsupported_media_type");
        check_problem(ASK(.path = "/v1/jobs/1/cancel", .headers = {types[i]}, .body = "{}"), 415,
                      "unsupported_media_type");
    }
    check_problem(ASK(.path = "/v1/jobs", .method = "POST"), 415, "unsupported_media_type");
    check_problem(ASK(.path = "/v1/jobs", .headers = {"Accept: text/html"}), 406, "not_acceptable");
    check_problem(ASK(.path = "/v1/jobs", .headers = {"Accept: application/json;q=0, */*"}), 406,
                  "not_acceptable");
    check_problem(ASK(.path = "/v1/jobs/1/events", .headers = {"Accept: image/png"}), 406,
                  "not_acceptable");
    check_problem(ASK(.path = "/v1/jobs", .headers = {"Accept: text/event-stream"}), 406,
                  "not_acceptable");
}

static void test_body_sizes(void **state) {
    size_t sizes[] = {WIRE_BODY_MAX, WIRE_BODY_MAX + 1, 500000, 3000000};

    for (size_t i = 0; i < ARRAY_SIZE(sizes) * 2; i++) {
        cleanup(freep) char *body = malloc(sizes[i / 2]);
        struct visit ask = {.path = "/v1/jobs",
                            .headers = {JSON_TYPE},
                            .body = body,
                            .size = sizes[i / 2],
                            .chunked = i % 2};
        struct answer answer;

        memset(body, ' ', sizes[i / 2]);
        memcpy(body, "{\"model\": \"a/b\"}", 16);
        answer = visit(*state, ask);
        if (sizes[i / 2] <= WIRE_BODY_MAX) {
            assert_int_equal(answer.status, 202);
            answer_done(&answer);
        } else {
            check_problem(answer, 413, "body_too_large");
        }
    }
}

static void test_errors_of_the_service(void **state) {
    static const struct {
        int r;
        long status;
    } cases[] = {{-EEXIST, 409}, {-EBUSY, 409},  {-EPERM, 403},  {-EDQUOT, 429},
                 {-EAGAIN, 503}, {-ENOSPC, 507}, {-EINVAL, 422}, {-ENOENT, 404}};
    struct site *site = *state;
    struct answer answer;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        site->fake->submit_error = cases[i].r;
        check_problem(ASK(.path = "/v1/jobs", .headers = {JSON_TYPE}, .body = "{}"),
                      cases[i].status, "from_service");
    }
    site->fake->submit_error = -EIO;
    answer = ASK(.path = "/v1/jobs", .headers = {JSON_TYPE}, .body = "{}");
    assert_null(strstr(answer.body.data, "secret"));
    check_problem(answer, 500, "internal_error");
    site->fake->submit_error = 0;
    site->fake->sick = true;
    check_problem(ASK(.path = "/healthz"), 503, "unhealthy");
    check_problem(ASK(.path = "/readyz"), 503, "no_device");
    site->fake->sick = false;
}

static void test_hosts(void **state) {
    static const char *const good[] = {
        "Host: localhost",   "Host: LOCALHOST:99",  "Host: 127.0.0.1:1",
        "Host: 127.9.9.9",   "Host: [::1]",         "Host: [::1]:7878",
        "Host: box.example", "Host: BOX.example:1", "Host: port.example:1234"};
    static const char *const bad[] = {"Host: evil.example",
                                      "Host: 127.0.0.1.evil.example",
                                      "Host: localhost.evil.example",
                                      "Host: port.example",
                                      "Host: port.example:12345",
                                      "Host: 10.0.0.1",
                                      "Host: 0.0.0.0",
                                      "Host: box.example.evil",
                                      "Host: localhost:x",
                                      "Host: [::2]",
                                      "Host: localhost@evil",
                                      "Host: xbox.example",
                                      "Host: 2130706433",
                                      "Host: [::1",
                                      "Host: box.example:1:2"};
    static const char twice[] =
        "GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\nConnection: close\r\n\r\n";
    static const char none[] = "GET / HTTP/1.0\r\n\r\n";
    cleanup(freep) char *answer_twice = site_talk(*state, twice, strlen(twice));
    cleanup(freep) char *answer_none = site_talk(*state, none, strlen(none));

    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        struct answer answer = ASK(.path = "/", .headers = {good[i]});

        assert_int_equal(answer.status, 200);
        answer_done(&answer);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct answer answer = ASK(.path = "/", .headers = {bad[i]}, .over_unix = true);

        assert_int_equal(answer.status, 200);
        answer_done(&answer);
        check_problem(ASK(.path = "/", .headers = {bad[i]}), 421, "host_not_allowed");
    }
    assert_non_null(strstr(answer_twice, " 400 "));
    assert_non_null(strstr(answer_none, " 421 "));
}

static void test_origins(void **state) {
    struct answer answer = ASK(.path = "/v1/jobs/1/cancel", .method = "POST",
                               .headers = {"Origin: http://localhost:5", "Host: localhost:5"});

    assert_int_not_equal(answer.status, 403);
    answer_done(&answer);
    check_problem(ASK(.path = "/v1/jobs/1/cancel", .method = "POST",
                      .headers = {"Origin: http://localhost:6", "Host: localhost:5"}),
                  403, "origin_not_allowed");
    check_problem(ASK(.path = "/v1/jobs/1/cancel", .method = "POST", .headers = {"Origin: null"}),
                  403, "origin_not_allowed");
    check_problem(ASK(.path = "/v1/jobs", .headers = {JSON_TYPE, "Origin: http://evil.example"},
                      .body = "{}"),
                  403, "origin_not_allowed");
}

static void check_ids(struct answer answer, const char *expected, bool has_more) {
    cleanup(json_decrefp) json_t *list = parse(&answer);
    struct strbuf ids = {};
    json_t *item;
    size_t i;

    assert_int_equal(answer.status, 200);
    assert_string_equal(text_of(list, "object"), "list");
    assert_int_equal(json_is_true(json_object_get(list, "has_more")), has_more);
    strbuf_puts(&ids, "");
    json_array_foreach(json_object_get(list, "data"), i, item) {
        json_t *id = json_object_get(item, "id");

        strbuf_printf(&ids, "%d ", (int)json_integer_value(id ? id : json_object_get(item, "seq")));
    }
    assert_string_equal(ids.data, expected);
    strbuf_done(&ids);
    answer_done(&answer);
}

static void test_lists(void **state) {
    static const char *const bad[] = {"/v1/jobs?limit=0",
                                      "/v1/jobs?limit=501",
                                      "/v1/jobs?limit=x",
                                      "/v1/jobs?limit",
                                      "/v1/jobs?after=-1",
                                      "/v1/jobs?status=done",
                                      "/v1/jobs?owner=",
                                      "/v1/jobs?page=2",
                                      "/v1/jobs/1?x=1",
                                      "/v1/jobs/1/events?after=1x",
                                      "/v1/events?after=9223372036854775808",
                                      "/v1/jobs?lim=1",
                                      "/v1/jobs?after=1e3"};
    struct site *site = *state;

    for (int i = 2; i <= 4; i++)
        fake_job(site->fake);
    check_ids(ASK(.path = "/v1/jobs"), "4 3 2 1 ", false);
    check_ids(ASK(.path = "/v1/jobs?limit=2"), "4 3 ", true);
    check_ids(ASK(.path = "/v1/jobs?limit=2&after=3"), "2 1 ", false);
    check_ids(ASK(.path = "/v1/jobs?status=queued"), "", false);
    check_ids(ASK(.path = "/v1/jobs?status=running&owner=local&limit=500"), "4 3 2 1 ", false);
    check_ids(ASK(.path = "/v1/jobs?owner=other"), "", false);
    check_ids(ASK(.path = "/v1/events"), "1 2 3 4 ", false);
    check_ids(ASK(.path = "/v1/events?after=1&limit=2"), "2 3 ", true);
    check_ids(ASK(.path = "/v1/jobs/3/events"), "3 ", false);
    check_ids(ASK(.path = "/v1/jobs/3/events", .headers = {"Last-Event-ID: 3"}), "", false);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        check_problem(ASK(.path = bad[i]), 422, "invalid_parameter");
    check_problem(ASK(.path = "/v1/events", .headers = {"Last-Event-ID: x"}), 422,
                  "invalid_parameter");
}

static void test_etags(void **state) {
    static const char *const paths[] = {"/v1/jobs/1", "/v1/jobs?limit=3", "/openapi.json"};
    struct site *site = *state;

    for (size_t i = 0; i < ARRAY_SIZE(paths) * 2; i++) {
        const char *path = paths[i / 2], *method = i % 2 ? "HEAD" : NULL;
        struct answer answer = ASK(.path = path, .method = method);
        char tag[100], known[128], other[160];

        assert_true(answer_header(&answer, "ETag", tag, sizeof(tag))[0]);
        answer_done(&answer);
        snprintf(known, sizeof(known), "If-None-Match: %s", tag);
        snprintf(other, sizeof(other), "If-None-Match: \"x\", W/%s", tag);
        answer = ASK(.path = path, .method = method, .headers = {known});
        assert_int_equal(answer.status, 304);
        assert_int_equal(answer.body.length, 0);
        check_header(&answer, "ETag", tag);
        answer_done(&answer);
        answer = ASK(.path = path, .method = method, .headers = {other});
        assert_int_equal(answer.status, 304);
        answer_done(&answer);
        answer = ASK(.path = path, .method = method, .headers = {"If-None-Match: *"});
        assert_int_equal(answer.status, 304);
        answer_done(&answer);
        fake_progress(site->fake, 1, (int)i + 1);
        answer = ASK(.path = path, .method = method, .headers = {known});
        assert_int_equal(answer.status, i / 2 == 2 ? 304 : 200);
        answer_done(&answer);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_plain_gets, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_not_found, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_methods, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_estimate, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_submit, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_owner_of_unix_socket, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_malformed_json, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_media_types, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_body_sizes, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_errors_of_the_service, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_hosts, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_origins, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_lists, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_etags, open_site, close_site),
    };

    curl_global_init(CURL_GLOBAL_DEFAULT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
