// SPDX-License-Identifier: Apache-2.0
/* Bytes that no client of good will sends: nothing may crash, hang or succeed. */
#include "base/cleanup.h"
#include "base/macros.h"
#include "visit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define JSON_TYPE "Content-Type: application/json"

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

/* What HTTP itself forbids: no crash, no 2xx. */
static void test_broken_requests(void **state) {
#define HOST "Host: localhost\r\n"
    static const char *const texts[] = {
        "\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n" HOST "\r\n",
        "POST /v1/jobs HTTP/1.1\r\n" HOST JSON_TYPE "\r\nContent-Length: -5\r\n\r\n",
        "POST /v1/jobs HTTP/1.1\r\n" HOST JSON_TYPE
        "\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "POST /v1/jobs HTTP/1.1\r\n" HOST JSON_TYPE "\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "POST /v1/jobs HTTP/1.1\r\n" HOST JSON_TYPE "\r\nContent-Length: 50\r\n\r\n{\"model\":",
        "POST /v1/jobs HTTP/1.1\r\n" HOST JSON_TYPE
        "\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n{}",
        "GET http://evil.example/v1/jobs HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n",
    };
    cleanup(freep) char *huge = malloc(400000);
    cleanup(freep) char *answer = NULL;

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        cleanup(freep) char *text = site_talk(*state, texts[i], strlen(texts[i]));

        assert_null(strstr(text, "HTTP/1.1 2"));
    }
    memset(huge, 'a', 400000);
    memcpy(huge, "GET /", 5);
    answer = site_talk(*state, huge, 400000);
    assert_null(strstr(answer, "HTTP/1.1 2"));
}

/* Good requests with some bytes changed, always the same ones. */
static void test_damaged_requests(void **state) {
    static const char *const texts[] = {
        "GET /v1/jobs?limit=2&after=5&status=queued HTTP/1.1\r\n" HOST
        "Accept: application/json;q=0.5, */*\r\nIf-None-Match: \"a-1\", W/\"b-2\"\r\n\r\n",
        "GET /v1/jobs/1/artifacts/model.safetensors HTTP/1.1\r\n" HOST
        "Range: bytes=99000-99999\r\nIf-Range: \"x\"\r\nConnection: close\r\n\r\n",
        "POST /v1/jobs HTTP/1.1\r\n" HOST JSON_TYPE "\r\nIdempotency-Key: 77\r\n"
        "Origin: http://localhost\r\nContent-Length: 16\r\n\r\n{\"model\": \"a/b\"}",
        "POST /v1/jobs/1/cancel HTTP/1.1\r\n" HOST JSON_TYPE
        "\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "HEAD /v1/jobs/1/events?after=1 HTTP/1.1\r\n" HOST
        "Accept: text/event-stream\r\nLast-Event-ID: 1\r\nConnection: close\r\n\r\n",
    };
    struct answer answer;
    uint32_t random = 1;

    for (int round = 0; round < 1500; round++) {
        const char *text = texts[round % (int)ARRAY_SIZE(texts)];
        size_t size = strlen(text);
        cleanup(freep) char *damaged = strdup(text);
        cleanup(freep) char *talk = NULL;

        for (int i = 0; i < 1 + round % 4; i++) {
            random = random * 1664525 + 1013904223;
            damaged[(random >> 8) % size] = (char)(random >> 24);
        }
        talk = site_talk(*state, damaged, size);
        if (strstr(talk, "HTTP/1.1 500"))
            fail_msg("'%s' is answered '%s'", damaged, talk);
    }
    answer = visit(*state, (struct visit){.path = "/healthz"});
    assert_int_equal(answer.status, 200);
    answer_done(&answer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_broken_requests, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_damaged_requests, open_site, close_site),
    };

    curl_global_init(CURL_GLOBAL_DEFAULT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
