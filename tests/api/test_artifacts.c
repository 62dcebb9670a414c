// SPDX-License-Identifier: Apache-2.0
/* Downloads: whole, by range, by HEAD. */
#include "base/cleanup.h"
#include "visit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define FILE_PATH "/v1/jobs/1/artifacts/model.safetensors"
#define ASK(...) visit(*state, (struct visit){__VA_ARGS__})

static int open_site(void **state) {
    struct site *site = site_open();

    fake_job(site->fake);
    *state = site;
    return 0;
}

static int close_site(void **state) {
    site_close(*state);
    return 0;
}

static void check_header(const struct answer *answer, const char *name, const char *expected) {
    char buffer[256];

    assert_string_equal(answer_header(answer, name, buffer, sizeof(buffer)), expected);
}

/* Bytes @first and on of the file, and the headers that go with them; frees the answer. */
static void check_bytes(struct answer answer, long status, size_t first, size_t length) {
    char range[80] = "";

    assert_int_equal(answer.result, CURLE_OK);
    assert_int_equal(answer.status, status);
    assert_int_equal(answer.body.length, length);
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)answer.body.data[i] != fake_byte(first + i))
            fail_msg("byte %zu differs", first + i);
    if (status == 206)
        snprintf(range, sizeof(range), "bytes %zu-%zu/%d", first, first + length - 1,
                 FAKE_FILE_SIZE);
    check_header(&answer, "Content-Range", range);
    check_header(&answer, "Accept-Ranges", "bytes");
    answer_done(&answer);
}

static void test_whole(void **state) {
    for (int i = 0; i < 2; i++)
        check_bytes(ASK(.path = FILE_PATH, .over_unix = i), 200, 0, FAKE_FILE_SIZE);
}

static void test_ranges(void **state) {
    static const struct {
        const char *range;
        size_t first, length;
    } cases[] = {
        {"Range: bytes=0-0", 0, 1},
        {"Range: bytes=0-99999", 0, FAKE_FILE_SIZE},
        {"Range: bytes=99999-99999", 99999, 1},
        {"Range: bytes=5-", 5, FAKE_FILE_SIZE - 5},
        {"Range: bytes=99990-200000", 99990, 10},
        {"Range: bytes=10-99999999999999999999999", 10, FAKE_FILE_SIZE - 10},
        {"Range: bytes=-1", 99999, 1},
        {"Range: bytes=-100000", 0, FAKE_FILE_SIZE},
        {"Range: bytes=-5000000", 0, FAKE_FILE_SIZE},
        {"Range: BYTES=70000-70009", 70000, 10},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases) * 2; i++)
        check_bytes(ASK(.path = FILE_PATH, .headers = {cases[i / 2].range}, .over_unix = i % 2),
                    206, cases[i / 2].first, cases[i / 2].length);
}

/* What cannot be read, and several ranges, are as if they were not there. */
static void test_ranges_ignored(void **state) {
    static const char *const ranges[] = {
        "Range: bytes=0-1,5-6", "Range: bytes=5-4", "Range: bytes=-", "Range: bytes=",
        "Range: bytes=a-b",     "Range: lines=0-1", "Range: 0-1",     "Range: bytes=0-1x",
        "Range: bytes 0-1",     "Range: bytes=--1"};

    for (size_t i = 0; i < ARRAY_SIZE(ranges); i++)
        check_bytes(ASK(.path = FILE_PATH, .headers = {ranges[i]}), 200, 0, FAKE_FILE_SIZE);
}

static void check_unsatisfiable(struct answer answer, const char *range) {
    assert_int_equal(answer.status, 416);
    check_header(&answer, "Content-Range", range);
    answer_done(&answer);
}

static void test_unsatisfiable(void **state) {
    static const char *const ranges[] = {"Range: bytes=100000-", "Range: bytes=100000-100001",
                                         "Range: bytes=-0",
                                         "Range: bytes=99999999999999999999999-"};

    for (size_t i = 0; i < ARRAY_SIZE(ranges); i++)
        check_unsatisfiable(ASK(.path = FILE_PATH, .headers = {ranges[i]}), "bytes */100000");
    check_unsatisfiable(ASK(.path = "/v1/jobs/1/artifacts/empty", .headers = {"Range: bytes=0-"}),
                        "bytes */0");
    check_unsatisfiable(ASK(.path = "/v1/jobs/1/artifacts/empty", .headers = {"Range: bytes=-5"}),
                        "bytes */0");
}

static void test_conditions(void **state) {
    struct answer answer = ASK(.path = FILE_PATH, .method = "HEAD");
    char tag[128], header[160];

    assert_int_equal(answer.status, 200);
    assert_int_equal(answer.body.length, 0);
    check_header(&answer, "Content-Length", "100000");
    check_header(&answer, "Content-Type", "application/octet-stream");
    check_header(&answer, "Content-Disposition", "attachment; filename=\"model.safetensors\"");
    assert_int_equal(strlen(answer_header(&answer, "ETag", tag, sizeof(tag))), 66);
    answer_done(&answer);

    snprintf(header, sizeof(header), "If-Range: %s", tag);
    check_bytes(ASK(.path = FILE_PATH, .headers = {"Range: bytes=9-", header}), 206, 9,
                FAKE_FILE_SIZE - 9);
    check_bytes(ASK(.path = FILE_PATH, .headers = {"Range: bytes=9-", "If-Range: \"other\""}), 200,
                0, FAKE_FILE_SIZE);
    check_bytes(ASK(.path = FILE_PATH,
                    .headers = {"Range: bytes=9-", "If-Range: Sun, 22 Nov 2026 09:30:00 GMT"}),
                200, 0, FAKE_FILE_SIZE);
    snprintf(header, sizeof(header), "If-None-Match: %s", tag);
    answer = ASK(.path = FILE_PATH, .headers = {header, "Range: bytes=0-0"});
    assert_int_equal(answer.status, 304);
    assert_int_equal(answer.body.length, 0);
    answer_done(&answer);

    answer = ASK(.path = FILE_PATH, .method = "HEAD", .headers = {"Range: bytes=0-9"});
    assert_int_equal(answer.status, 200);
    check_header(&answer, "Content-Length", "100000");
    answer_done(&answer);
    answer = ASK(.path = "/v1/jobs/1/artifacts/quantd.json");
    check_header(&answer, "Content-Type", "application/json");
    assert_string_equal(answer.body.data, "{}");
    answer_done(&answer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_whole, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_ranges, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_ranges_ignored, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_unsatisfiable, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_conditions, open_site, close_site),
    };

    curl_global_init(CURL_GLOBAL_DEFAULT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
