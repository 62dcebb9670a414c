// SPDX-License-Identifier: Apache-2.0
/* Groups of jobs. */
#include "check.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define BODY "{\"name\": \"g\", \"job\": {\"model\": \"a\"}, \"lists\": {\"wbits\": [3, 4]}}"

/* Frees the answer. */
static void check_allow(struct answer answer, const char *methods) {
    assert_int_equal(answer.status, 405);
    check_header(&answer, "Allow", methods);
    answer_done(&answer);
}

static void test_submit(void **state) {
    struct site *site = *state;
    struct answer answer =
        ASK(.path = "/v1/groups", .headers = {JSON_TYPE, "Idempotency-Key: k"}, .body = BODY);
    cleanup(json_decrefp) json_t *group = parse(&answer);

    assert_int_equal(answer.status, 202);
    assert_string_equal(text_of(group, "object"), "group");
    check_header(&answer, "Location", "/v1/groups/2");
    answer_done(&answer);
    check_problem(ASK(.path = "/v1/groups", .headers = {JSON_TYPE}, .body = "{}"), 422,
                  "invalid_parameter");
    check_problem(ASK(.path = "/v1/groups", .headers = {JSON_TYPE}, .body = "{"), 400,
                  "malformed_json");
    check_problem(
        ASK(.path = "/v1/groups", .headers = {JSON_TYPE, "Idempotency-Key;"}, .body = BODY), 422,
        "invalid_parameter");
    check_problem(ASK(.path = "/v1/groups", .headers = {JSON_TYPE, "Origin: null"}, .body = BODY),
                  403, "origin_not_allowed");
    site->fake->submit_error = -EDQUOT;
    check_problem(ASK(.path = "/v1/groups", .headers = {JSON_TYPE}, .body = BODY), 429,
                  "from_service");
}

static void test_estimate(void **state) {
    struct answer answer = ASK(.path = "/v1/groups/estimate", .headers = {JSON_TYPE}, .body = BODY);
    cleanup(json_decrefp) json_t *estimate = parse(&answer);

    assert_int_equal(answer.status, 200);
    assert_string_equal(text_of(estimate, "object"), "group_estimate");
    answer_done(&answer);
    check_problem(ASK(.path = "/v1/groups/estimate", .headers = {JSON_TYPE}, .body = "{}"), 422,
                  "invalid_parameter");
    check_allow(ASK(.path = "/v1/groups/estimate"), "POST");
}

/* A group has a tag, by which it is not sent again. */
static void test_get(void **state) {
    struct site *site = *state;
    struct answer answer = ASK(.path = "/v1/groups/1");
    char tag[160], buffer[128];

    assert_int_equal(answer.status, 200);
    snprintf(tag, sizeof(tag), "If-None-Match: %s",
             answer_header(&answer, "ETag", buffer, sizeof(buffer)));
    answer_done(&answer);
    answer = ASK(.path = "/v1/groups/1", .headers = {tag});
    assert_int_equal(answer.status, 304);
    answer_done(&answer);
    fake_progress(site->fake, 1, 2);
    answer = ASK(.path = "/v1/groups/1", .headers = {tag});
    assert_int_equal(answer.status, 200);
    answer_done(&answer);
    check_problem(ASK(.path = "/v1/groups/9"), 404, "group_not_found");
    check_problem(ASK(.path = "/v1/groups/x"), 404, "not_found");
    check_allow(ASK(.path = "/v1/groups/1", .method = "DELETE"), "GET, HEAD");
}

static void test_list(void **state) {
    struct answer answer = ASK(.path = "/v1/groups?owner=user&limit=7&after=9");
    cleanup(json_decrefp) json_t *list = parse(&answer);
    json_t *filter = json_array_get(json_object_get(list, "data"), 0);

    assert_int_equal(answer.status, 200);
    assert_string_equal(text_of(filter, "owner"), "user");
    assert_int_equal(json_integer_value(json_object_get(filter, "limit")), 7);
    assert_int_equal(json_integer_value(json_object_get(filter, "after")), 9);
    answer_done(&answer);
    check_problem(ASK(.path = "/v1/groups?limit=501"), 422, "invalid_parameter");
    check_problem(ASK(.path = "/v1/groups?colour=1"), 422, "invalid_parameter");
    check_problem(ASK(.path = "/v1/jobs?group=0"), 422, "invalid_parameter");
    check_problem(ASK(.path = "/v1/jobs?group=x"), 422, "invalid_parameter");
}

static void test_cancel(void **state) {
    struct site *site = *state;
    struct answer answer = ASK(.path = "/v1/groups/1/cancel", .method = "POST");

    assert_int_equal(answer.status, 202);
    answer_done(&answer);
    check_problem(ASK(.path = "/v1/groups/1/cancel", .headers = {JSON_TYPE}, .body = "{\"a\": 1}"),
                  422, "invalid_parameter");
    fake_end(site->fake, 1);
    check_problem(ASK(.path = "/v1/groups/1/cancel", .method = "POST"), 409, "job_ended");
}

static void test_order(void **state) {
    struct site *site = *state;
    struct answer answer = ASK(.path = "/v1/groups/1/hold", .method = "POST");

    assert_int_equal(answer.status, 200);
    assert_non_null(strstr(answer.body.data, "\"object\":\"group\""));
    assert_non_null(strstr(answer.body.data, "\"held\":1"));
    answer_done(&answer);
    answer = ASK(.path = "/v1/groups/1/release", .method = "POST");
    assert_int_equal(answer.status, 200);
    assert_non_null(strstr(answer.body.data, "\"held\":0"));
    answer_done(&answer);
    answer =
        ASK(.path = "/v1/groups/1/priority", .headers = {JSON_TYPE}, .body = "{\"priority\": -7}");
    assert_int_equal(answer.status, 200);
    assert_non_null(strstr(answer.body.data, "\"priority\":-7"));
    answer_done(&answer);
    check_problem(
        ASK(.path = "/v1/groups/1/priority", .headers = {JSON_TYPE}, .body = "{\"priority\": 101}"),
        422, "invalid_parameter");
    check_problem(ASK(.path = "/v1/groups/9/release", .method = "POST"), 404, "group_not_found");
    check_allow(ASK(.path = "/v1/groups/1/hold"), "POST");
    fake_end(site->fake, 1);
    check_problem(ASK(.path = "/v1/groups/1/hold", .method = "POST"), 409, "job_not_queued");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_submit, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_estimate, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_get, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_list, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_cancel, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_order, open_site, close_site),
    };

    curl_global_init(CURL_GLOBAL_DEFAULT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
