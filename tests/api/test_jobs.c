// SPDX-License-Identifier: Apache-2.0
/* What can be done to a job: cancel, retry, delete. */
#include "check.h"

static void test_cancel(void **state) {
    struct site *site = *state;
    static const char *const bodies[] = {NULL, "{}"};

    for (size_t i = 0; i < ARRAY_SIZE(bodies); i++) {
        struct answer answer = ASK(.path = "/v1/jobs/1/cancel", .method = "POST",
                                   .headers = {bodies[i] ? JSON_TYPE : NULL}, .body = bodies[i]);
        cleanup(json_decrefp) json_t *job = parse(&answer);

        assert_int_equal(answer.status, 202);
        assert_string_equal(text_of(job, "status"), "cancelling");
        answer_done(&answer);
    }
    check_problem(ASK(.path = "/v1/jobs/1/cancel", .headers = {JSON_TYPE}, .body = "{\"a\": 1}"),
                  422, "invalid_parameter");
    check_problem(ASK(.path = "/v1/jobs/1/cancel", .headers = {JSON_TYPE}, .body = "[]"), 422,
                  "invalid_parameter");
    check_problem(ASK(.path = "/v1/jobs/1/cancel", .headers = {JSON_TYPE}, .body = "{"), 400,
                  "malformed_json");
    fake_end(site->fake, 1);
    check_problem(ASK(.path = "/v1/jobs/1/cancel", .method = "POST"), 409, "job_ended");
}

/* A waiting job is held, released, and moved. */
static void test_order(void **state) {
    static const char *const refused[] = {"{\"priority\": 101}",
                                          "{\"priority\": -101}",
                                          "{\"priority\": 1.5}",
                                          "{\"priority\": \"1\"}",
                                          "{\"priority\": 1, \"held\": true}",
                                          "{}",
                                          "[1]",
                                          "{\"priority\": 99999999999}"};
    struct site *site = *state;
    struct answer answer;

    answer = ASK(.path = "/v1/jobs/1/hold", .method = "POST");
    assert_int_equal(answer.status, 200);
    assert_non_null(strstr(answer.body.data, "\"held\":1"));
    answer_done(&answer);
    answer = ASK(.path = "/v1/jobs/1/release", .method = "POST");
    assert_int_equal(answer.status, 200);
    assert_non_null(strstr(answer.body.data, "\"held\":0"));
    answer_done(&answer);
    answer =
        ASK(.path = "/v1/jobs/1/priority", .headers = {JSON_TYPE}, .body = "{\"priority\": -7.0}");
    assert_int_equal(answer.status, 200);
    assert_non_null(strstr(answer.body.data, "\"priority\":-7"));
    answer_done(&answer);
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
        check_problem(
            ASK(.path = "/v1/jobs/1/priority", .headers = {JSON_TYPE}, .body = refused[i]), 422,
            "invalid_parameter");
    check_problem(ASK(.path = "/v1/jobs/1/hold", .headers = {JSON_TYPE}, .body = "{\"a\": 1}"), 422,
                  "invalid_parameter");
    check_problem(ASK(.path = "/v1/jobs/9/hold", .method = "POST"), 404, "job_not_found");
    fake_set_status(site->fake, 1, "failed");
    check_problem(ASK(.path = "/v1/jobs/1/hold", .method = "POST"), 409, "job_not_queued");
}

static void test_retry(void **state) {
    struct site *site = *state;
    static const char *const bodies[] = {NULL, "{}"};

    check_problem(ASK(.path = "/v1/jobs/1/retry", .method = "POST"), 409, "job_not_retryable");
    fake_set_status(site->fake, 1, "failed");
    for (size_t i = 0; i < ARRAY_SIZE(bodies); i++) {
        struct answer answer = ASK(.path = "/v1/jobs/1/retry", .method = "POST",
                                   .headers = {bodies[i] ? JSON_TYPE : NULL}, .body = bodies[i]);
        cleanup(json_decrefp) json_t *job = parse(&answer);

        assert_int_equal(answer.status, 202);
        assert_int_equal(json_integer_value(json_object_get(job, "id")), i + 2);
        assert_string_equal(text_of(job, "owner"), "local");
        check_header(&answer, "Location", i ? "/v1/jobs/3" : "/v1/jobs/2");
        answer_done(&answer);
    }
    check_problem(ASK(.path = "/v1/jobs/1/retry", .headers = {JSON_TYPE}, .body = "{\"a\": 1}"),
                  422, "invalid_parameter");
    check_problem(
        ASK(.path = "/v1/jobs/1/retry", .method = "POST", .headers = {"Idempotency-Key;"}), 422,
        "invalid_parameter");
    check_problem(ASK(.path = "/v1/jobs/1/retry", .method = "POST", .headers = {"Origin: null"}),
                  403, "origin_not_allowed");
}

static void test_delete(void **state) {
    struct site *site = *state;
    struct answer answer;

    check_problem(ASK(.path = "/v1/jobs/1", .method = "DELETE"), 409, "job_not_ended");
    fake_end(site->fake, 1);
    check_problem(
        ASK(.path = "/v1/jobs/1", .method = "DELETE", .headers = {"Origin: http://evil.example"}),
        403, "origin_not_allowed");
    answer = ASK(.path = "/v1/jobs/1", .method = "DELETE", .over_unix = true);
    assert_int_equal(answer.status, 204);
    assert_int_equal(answer.body.length, 0);
    answer_done(&answer);
    check_problem(ASK(.path = "/v1/jobs/1", .method = "DELETE"), 404, "job_not_found");
    check_problem(ASK(.path = "/v1/jobs/1"), 404, "job_not_found");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_cancel, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_order, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_retry, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_delete, open_site, close_site),
    };

    curl_global_init(CURL_GLOBAL_DEFAULT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
