// SPDX-License-Identifier: Apache-2.0
/* JSON as gzip, for clients that take it. */
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

#define GZIP "Accept-Encoding: br, gzip;q=0.5"

/* The last four bytes of gzip: the size of what is packed. */
static size_t size_of(const struct answer *answer) {
    const unsigned char *end = (const unsigned char *)answer->body.data + answer->body.length;

    assert_true(answer->body.length > 18);
    assert_int_equal((unsigned char)answer->body.data[0], 0x1f);
    assert_int_equal((unsigned char)answer->body.data[1], 0x8b);
    return end[-4] | end[-3] << 8 | end[-2] << 16 | (size_t)end[-1] << 24;
}

/* GETs @path plain and packed; which has to be smaller, and of the same size when unpacked. */
static void check_packed(void **state, const char *path, const char *vary) {
    struct answer plain = ASK(.path = path), packed = ASK(.path = path, .headers = {GZIP});
    char tag[128], weak[136], header[160];
    struct answer known;

    assert_int_equal(plain.status, 200);
    assert_int_equal(packed.status, 200);
    check_header(&packed, "Content-Encoding", "gzip");
    check_header(&packed, "Vary", vary);
    check_header(&plain, "Vary", vary);
    assert_null(strstr(plain.headers.data, "Content-Encoding"));
    assert_int_equal(size_of(&packed), plain.body.length);
    assert_true(packed.body.length * 2 < plain.body.length);
    /* One weak tag for both codings: each is known by it, and by the strong one. */
    answer_header(&plain, "ETag", tag, sizeof(tag));
    snprintf(weak, sizeof(weak), "W/%s", tag);
    check_header(&packed, "ETag", weak);
    snprintf(header, sizeof(header), "If-None-Match: %s", weak);
    known = ASK(.path = path, .headers = {GZIP, header});
    assert_int_equal(known.status, 304);
    assert_int_equal(known.body.length, 0);
    check_header(&known, "ETag", weak);
    assert_null(strstr(known.headers.data, "Content-Encoding"));
    answer_done(&known);
    known = ASK(.path = path, .headers = {header});
    assert_int_equal(known.status, 304);
    check_header(&known, "ETag", tag);
    answer_done(&known);
    answer_done(&plain);
    answer_done(&packed);
}

static void test_packed(void **state) {
    struct site *site = *state;

    for (int i = 0; i < 60; i++)
        fake_job(site->fake);
    check_packed(state, "/v1/jobs", "Authorization, Accept-Encoding");
    check_packed(state, "/openapi.json", "Accept-Encoding");
}

static void test_not_packed(void **state) {
    static const char *const refused[] = {"Accept-Encoding: gzip;q=0", "Accept-Encoding: br",
                                          "Accept-Encoding: identity", "Accept-Encoding;"};
    struct site *site = *state;
    struct answer answer = ASK(.path = "/v1/version", .headers = {GZIP});

    /* Too short to pay. */
    assert_int_equal(answer.status, 200);
    assert_null(strstr(answer.headers.data, "Content-Encoding"));
    assert_int_equal(answer.body.data[0], '{');
    answer_done(&answer);
    for (int i = 0; i < 60; i++)
        fake_job(site->fake);
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
        answer = ASK(.path = "/v1/jobs", .headers = {refused[i]});
        assert_null(strstr(answer.headers.data, "Content-Encoding"));
        assert_int_equal(answer.body.data[0], '{');
        answer_done(&answer);
    }
    /* Streams and files of jobs are as they are. */
    fake_end(site->fake, 1);
    answer = ASK(.path = "/v1/jobs/1/events", .headers = {GZIP, "Accept: text/event-stream"});
    assert_int_equal(strncmp(answer.body.data, "retry: ", 7), 0);
    answer_done(&answer);
    answer = ASK(.path = "/v1/jobs/1/artifacts/model.safetensors", .headers = {GZIP});
    assert_int_equal(answer.body.length, FAKE_FILE_SIZE);
    assert_null(strstr(answer.headers.data, "Content-Encoding"));
    answer_done(&answer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_packed, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_not_packed, open_site, close_site),
    };

    curl_global_init(CURL_GLOBAL_DEFAULT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
