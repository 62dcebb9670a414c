// SPDX-License-Identifier: Apache-2.0
/* Heads that two programs could read differently: one answer, 400, and the connection ends. */
#include "base/cleanup.h"
#include "base/macros.h"
#include "visit.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define START "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
#define BODY "{\"model\":\"none\"}" /* 16 bytes */
#define SECOND "GET /v1/whoami HTTP/1.1\r\nHost: localhost\r\n\r\n"
#define CHUNKED "Transfer-Encoding: chunked\r\n"
#define EMPTY "0\r\n\r\n"
#define TEXT(s) s, sizeof(s) - 1
#define PATIENCE 10 /* seconds for what is sure to come: an answer, or the end of a connection */

struct text {
    const char *text;
    size_t size;
};

static const struct text broken[] = {
    {TEXT(START "Content-Length: 16\r\nContent-Length: 4\r\n\r\n" BODY)},
    {TEXT(START "Content-Length: 16\r\nContent-Length: 16\r\n\r\n" BODY SECOND)},
    {TEXT(START "Content-Length: 49\r\n" CHUNKED "\r\n" EMPTY SECOND)},
    {TEXT(START CHUNKED "Content-Length: 49\r\n\r\n" EMPTY SECOND)},
    {TEXT(START "Content-Length : 16\r\n\r\n" BODY SECOND)},
    {TEXT(START "Content-Length\t: 16\r\n\r\n" BODY SECOND)},
    {TEXT(START "Content Length: 16\r\nContent-Length: 16\r\n\r\n" BODY SECOND)},
    {TEXT(START ": empty\r\n\r\n" BODY SECOND)},
    {TEXT(START "Transfer-Encoding : chunked\r\n\r\n" EMPTY SECOND)},
    {TEXT(START CHUNKED CHUNKED "\r\n" EMPTY SECOND)},
    {TEXT(START "Transfer-Encoding: gzip\r\n\r\n" SECOND)},
    {TEXT(START "Transfer-Encoding: chunked, chunked\r\n\r\n" EMPTY SECOND)},
    {TEXT(START "Transfer-Encoding: xchunked\r\n\r\n" EMPTY SECOND)},
    {TEXT("GET /healthz\0x HTTP/1.1\r\nHost: localhost\r\n\r\n")},
    {TEXT("GET /healthz\0 HTTP/1.1\r\nHost: localhost\r\n\r\n")},
    {TEXT("GET /healthz%00 HTTP/1.1\r\nHost: localhost\r\n\r\n")},
    {TEXT("GET /healthz?%00=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")},
    {TEXT("GET\0 /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")},
    {TEXT("GET /healthz HTTP/1.1\r\nHost: localhost\0.evil.example\r\n\r\n")},
    {TEXT("GET /healthz HTTP/1.1\r\nHost: localhost\0\r\n\r\n")},
    {TEXT("GET /healthz HTTP/1.1\r\nHost: localhost\0\r\nAccept: */*\r\n\r\n")},
    {TEXT("GET /healthz HTTP/1.1\r\nHost: localhost\r\nAccept: a\0b\r\nX-A: 1\r\n\r\n")},
    {TEXT("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX\0Y: 1\r\n\r\n")},
    {TEXT("GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n" SECOND)},
    {TEXT("GET /healthz HTTP/1.1\r\nHost: localhost\n\r\n" SECOND)},
    {TEXT("GET /healthz HTTP/1.1\r\nHost: localhost\rX-A: 1\r\n\r\n")},
    {TEXT(START "X-A: a\rContent-Length: 5\r\nContent-Length: 16\r\n\r\n" BODY SECOND)},
    {TEXT(START "X-A: a\r\r\nContent-Length: 16\r\n\r\n" BODY SECOND)},
    {TEXT(START "X-A: \x7f\r\nContent-Length: 16\r\n\r\n" BODY SECOND)},
    {TEXT(START "X-A: 1\r\n Transfer-Encoding: chunked\r\nContent-Length: 16\r\n\r\n" BODY SECOND)},
    {TEXT("GET /healthz\x01 HTTP/1.1\r\nHost: localhost\r\n\r\n")},
};

static const struct text good[] = {
    {TEXT(SECOND)},
    {TEXT("GET  /v1/whoami HTTP/1.1\r\nHost:localhost\r\nX-Empty:\r\nX-Spaces: \t a  b \r\n\r\n")},
    {TEXT(START "Content-Length: 16\r\n\r\n" BODY)},
    {TEXT(START "TRANSFER-ENCODING: Chunked\r\n\r\n10\r\n" BODY "\r\n" EMPTY)},
};

static int count(const char *text, const char *part) {
    int n = 0;

    for (const char *at = text; (at = strstr(at, part)); at++)
        n++;
    return n;
}

/* As site_hear(), of what is answered in any case: a busy machine may take its time to begin. */
static char *hear(int fd, double silence, bool *ret_closed) {
    struct pollfd pollfd = {.fd = fd, .events = POLLIN};

    poll(&pollfd, 1, PATIENCE * 1000);
    return site_hear(fd, silence, ret_closed);
}

/* What comes back for each, by TCP or by the unix socket; the caller frees it. */
static char *talk(struct site *site, bool over_unix, const struct text *text, double silence,
                  bool *ret_closed) {
    cleanup(closep) int fd = over_unix ? site_connect_unix(site) : site_connect(site, "");

    site_send(fd, text->text, text->size);
    return hear(fd, silence, ret_closed);
}

static void test_broken_heads(void **state) {
    for (size_t i = 0; i < 2 * ARRAY_SIZE(broken); i++) {
        const struct text *text = &broken[i / 2];
        bool closed = false;
        cleanup(freep) char *answer = talk(*state, i % 2, text, PATIENCE, &closed);

        if (strncmp(answer, "HTTP/1.1 400 ", 13) != 0 || count(answer, "HTTP/1.1 ") != 1 || !closed)
            fail_msg("'%s' is answered '%s' and the connection %s", text->text, answer,
                     closed ? "closed" : "left open");
    }
}

static void test_good_heads(void **state) {
    for (size_t i = 0; i < 2 * ARRAY_SIZE(good); i++) {
        const struct text *text = &good[i / 2];
        bool closed = false;
        cleanup(freep) char *answer = talk(*state, i % 2, text, 0.3, &closed);

        if (strncmp(answer, "HTTP/1.1 20", 11) != 0 || count(answer, "HTTP/1.1 ") != 1 || closed)
            fail_msg("'%s' is answered '%s' and the connection %s", text->text, answer,
                     closed ? "closed" : "left open");
    }
}

/* It is looked at each request, not at the first of a connection alone. */
static void test_later_requests(void **state) {
    for (size_t i = 0; i < 2 * ARRAY_SIZE(broken); i++) {
        const struct text *text = &broken[i / 2];
        cleanup(closep) int fd = i % 2 ? site_connect_unix(*state) : site_connect(*state, "");
        cleanup(freep) char *first = NULL, *second = NULL;
        bool closed = false;

        site_send(fd, TEXT(SECOND));
        first = hear(fd, 0.05, &closed);
        assert_int_equal(strncmp(first, "HTTP/1.1 200 ", 13), 0);
        assert_false(closed);
        site_send(fd, text->text, text->size);
        second = hear(fd, PATIENCE, &closed);
        if (strncmp(second, "HTTP/1.1 400 ", 13) != 0 || count(second, "HTTP/1.1 ") != 1 || !closed)
            fail_msg("'%s' is answered '%s' and the connection %s", text->text, second,
                     closed ? "closed" : "left open");
    }
}

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_broken_heads, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_good_heads, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_later_requests, open_site, close_site),
    };

    curl_global_init(CURL_GLOBAL_DEFAULT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
