// SPDX-License-Identifier: Apache-2.0
/* What admins do: models, backups, folders without a job. */
#include "api/wire.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void test_models(void **state) {
    struct answer answer = ASK(.path = "/v1/models");
    cleanup(json_decrefp) json_t *list = parse(&answer), *removed = NULL;

    assert_int_equal(answer.status, 200);
    assert_int_equal(json_array_size(json_object_get(list, "data")), 1);
    answer_done(&answer);
    answer = ASK(.path = "/v1/models/org/name-1.5_x", .method = "DELETE", .over_unix = true);
    removed = parse(&answer);
    assert_int_equal(answer.status, 200);
    assert_string_equal(text_of(removed, "id"), "name-1.5_x");
    answer_done(&answer);
    check_problem(ASK(.path = "/v1/models/org/name", .method = "DELETE"), 403, "forbidden");
    check_problem(ASK(.path = "/v1/models/busy/name", .method = "DELETE", .over_unix = true), 409,
                  "model_in_use");
    check_problem(ASK(.path = "/v1/models/nobody/name", .method = "DELETE", .over_unix = true), 404,
                  "model_not_found");
    check_problem(ASK(.path = "/v1/models/org/..", .method = "DELETE"), 404, "not_found");
    check_problem(ASK(.path = "/v1/models/org%2f..%2fx/y", .method = "DELETE"), 404, "not_found");
    check_problem(ASK(.path = "/v1/models/org/name", .method = "DELETE", .over_unix = true,
                      .headers = {"Origin: http://elsewhere.example"}),
                  403, "origin_not_allowed");
}

static void test_backup(void **state) {
    struct site *site = *state;
    struct answer answer =
        ASK(.path = "/v1/backup", .body = "", .method = "POST", .over_unix = true);
    cleanup(json_decrefp) json_t *begun = parse(&answer);

    assert_int_equal(answer.status, 202);
    assert_string_equal(text_of(begun, "url"), "/v1/backup/quantd.db");
    answer_done(&answer);
    answer = ASK(.path = "/v1/backup/quantd.db", .over_unix = true);
    assert_int_equal(answer.status, 200);
    assert_int_equal(answer.body.length, 2);
    check_header(&answer, "Content-Type", "application/octet-stream");
    answer_done(&answer);
    check_problem(ASK(.path = "/v1/backup/other.db", .over_unix = true), 404, "backup_not_found");
    site->fake->backup_runs = true;
    check_problem(ASK(.path = "/v1/backup", .body = "", .method = "POST", .over_unix = true), 409,
                  "backup_running");
    site->fake->backup_runs = false;
    check_problem(ASK(.path = "/v1/backup", .body = "{\"x\": 1}", .method = "POST",
                      .headers = {JSON_TYPE}, .over_unix = true),
                  422, "invalid_parameter");
    /* The answer is whole, although the name of the field is cut inside a character. */
    check_problem(ASK(.path = "/v1/backup", .body = "{\"012345678901234567890123456789\u00e9\": 1}",
                      .method = "POST", .headers = {JSON_TYPE}, .over_unix = true),
                  422, "invalid_parameter");
    /* For admins only. */
    check_problem(ASK(.path = "/v1/backup", .body = "", .method = "POST"), 403, "forbidden");
    check_problem(ASK(.path = "/v1/backup"), 403, "forbidden");
    check_problem(ASK(.path = "/v1/backup/quantd.db"), 403, "forbidden");
}

static struct answer adopt(struct site *site, int id, const char *body) {
    char path[64];

    snprintf(path, sizeof(path), "/v1/orphans/%d/adopt", id);
    return visit(site, (struct visit){.path = path,
                                      .method = "POST",
                                      .body = body,
                                      .headers = {body[0] ? JSON_TYPE : NULL},
                                      .over_unix = true});
}

static void test_orphans(void **state) {
    struct site *site = *state;
    struct answer answer = ASK(.path = "/v1/orphans?after=7", .over_unix = true);
    cleanup(json_decrefp) json_t *list = parse(&answer), *job = NULL, *given = NULL;

    assert_int_equal(answer.status, 200);
    assert_int_equal(json_array_size(json_object_get(list, "data")), 1);
    answer_done(&answer);
    site->fake->adoption_runs = true;
    answer = adopt(site, 3, "");
    assert_int_equal(answer.status, 202);
    answer_done(&answer);
    site->fake->adoption_runs = false;
    answer = adopt(site, 3, "{}");
    job = parse(&answer);
    assert_int_equal(answer.status, 200);
    assert_string_equal(text_of(job, "status"), "succeeded");
    answer_done(&answer);
    answer = adopt(site, 3, "{\"owner\": \"other\"}");
    given = parse(&answer);
    assert_string_equal(text_of(given, "owner"), "other");
    answer_done(&answer);
    check_problem(adopt(site, 8, ""), 409, "orphan_unfinished");
    check_problem(adopt(site, 99, ""), 404, "orphan_not_found");
    check_problem(adopt(site, 3, "[]"), 422, "invalid_parameter");
    check_problem(adopt(site, 3, "{"), 400, "malformed_json");
    check_problem(ASK(.path = "/v1/orphans?limit=101", .over_unix = true), 422,
                  "invalid_parameter");
    check_problem(ASK(.path = "/v1/orphans"), 403, "forbidden");
    check_problem(ASK(.path = "/v1/orphans/3/adopt", .method = "POST", .body = ""), 403,
                  "forbidden");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_models, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_backup, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_orphans, open_site, close_site),
    };

    curl_global_init(CURL_GLOBAL_DEFAULT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
