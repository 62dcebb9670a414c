// SPDX-License-Identifier: Apache-2.0
#include "api/stream/sse.h"
#include "base/cleanup.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Every event as "type|id|data;". */
static int collect(void *ctx, const struct sse_event *event) {
    struct strbuf *seen = ctx;

    strbuf_printf(seen, "%s|%s|", event->type, event->id);
    strbuf_append(seen, event->data, event->size);
    strbuf_puts(seen, ";");
    assert_int_equal(event->data[event->size], 0);
    return 0;
}

/* Feeds @text whole, cut in two at every byte, and byte by byte. */
static void check(const char *text, size_t size, const char *expected) {
    for (size_t cut = 0; cut <= size + 1; cut++) {
        struct sse_parser parser = {};
        struct strbuf seen = {};
        struct failure failure;
        size_t step = cut <= size ? cut : 1, at = 0;

        while (at < size) {
            size_t n = step && step < size - at ? step : size - at;
            /* A copy of exactly these bytes, so that a sanitizer sees a read past them. */
            cleanup(freep) char *piece = malloc(n);

            memcpy(piece, text + at, n);
            assert_int_equal(sse_parser_feed(&parser, piece, n, collect, &seen, &failure), 0);
            at += n;
            if (cut <= size)
                step = 0;
        }
        assert_string_equal(seen.data ? seen.data : "", expected);
        strbuf_done(&seen);
        sse_parser_done(&parser);
    }
}

#define CHECK(text, expected) check(text, sizeof(text) - 1, expected)

static void test_events(void **state) {
    (void)state;
    CHECK("", "");
    CHECK("data: a\n\n", "message||a;");
    CHECK("id: 7\nevent: layer.finished\ndata: {\"a\":1}\n\n", "layer.finished|7|{\"a\":1};");
    CHECK("data: one\ndata: two\ndata:\ndata:  three\n\n", "message||one\ntwo\n\n three;");
    CHECK("data\n\ndata\ndata\n\ndata:", "message||;message||\n;");
    CHECK(": comment\n\nretry: 10\n\nunknown: x\n\n", "");
    CHECK("id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\n", "message|1|a;message|1|b;message||c;");
    CHECK("id: 5\n\ndata: a\n\n", "message|5|a;");
    CHECK("event: x\n\ndata: a\n\n", "message||a;");
    CHECK("data: incomplete\n", "");
}

static void test_line_ends(void **state) {
    (void)state;
    CHECK("data: a\r\rdata: b\r\r", "message||a;message||b;");
    CHECK("data: a\r\n\r\ndata: b\r\n\r\n", "message||a;message||b;");
    CHECK("data: a\r\ndata: b\n\rdata: c\n\r\n", "message||a\nb;message||c;");
    CHECK("\r\n\n\r\n\r\rdata: a\n\n", "message||a;");
}

static void test_byte_order_mark(void **state) {
    (void)state;
    CHECK("\xef\xbb\xbf"
          "data: a\n\n\xef\xbb\xbf"
          "data: b\n\n",
          "message||a;");
    CHECK("\xef\xbb"
          "data: a\n\n",
          "");
    CHECK("\xef\ndata: a\n\n", "message||a;");
}

static void test_id_with_nul(void **state) {
    (void)state;
    CHECK("id: 3\ndata: a\n\nid: 4\0\ndata: b\n\n", "message|3|a;message|3|b;");
}

static void test_retry(void **state) {
    struct sse_parser parser = {};
    struct strbuf seen = {};
    static const char text[] = "retry: 2000\nretry: x\nretry: -1\nretry: 99999999999999999999\n";

    (void)state;
    assert_int_equal(sse_parser_feed(&parser, text, strlen(text), collect, &seen, NULL), 0);
    assert_int_equal(parser.retry_ms, 2000);
    sse_parser_done(&parser);
}

static int feed_repeated(struct sse_parser *parser, const char *piece, size_t total,
                         struct strbuf *seen, struct failure *failure) {
    size_t n = strlen(piece);
    int r = 0;

    for (size_t at = 0; at < total && r == 0; at += n)
        r = sse_parser_feed(parser, piece, n, collect, seen, failure);
    return r;
}

static void test_bounds(void **state) {
    struct sse_parser parser = {};
    struct strbuf seen = {}, line = {};
    struct failure failure;

    (void)state;
    assert_int_equal(feed_repeated(&parser, "data: x", SSE_LINE_MAX + 100, &seen, &failure),
                     -EMSGSIZE);
    assert_string_equal(failure.code, "event_too_long");
    assert_true(parser.line.length <= SSE_LINE_MAX);
    assert_int_equal(sse_parser_feed(&parser, "\n", 1, collect, &seen, &failure), -EBADMSG);
    sse_parser_restart(&parser);

    strbuf_puts(&line, "data: ");
    for (int i = 0; i < 1000; i++)
        strbuf_puts(&line, "0123456789");
    strbuf_puts(&line, "\n");
    assert_int_equal(feed_repeated(&parser, line.data, 2 * SSE_DATA_MAX, &seen, &failure),
                     -EMSGSIZE);
    assert_true(parser.data.length <= SSE_DATA_MAX);
    strbuf_done(&line);
    sse_parser_done(&parser);
    strbuf_done(&seen);
}

static void test_long_names(void **state) {
    struct strbuf text = {};

    (void)state;
    strbuf_puts(&text, "id: 1\nid: ");
    for (int i = 0; i <= SSE_NAME_MAX; i++)
        strbuf_puts(&text, "9");
    strbuf_puts(&text, "\ndata: a\n\n");
    check(text.data, text.length, "message|1|a;");
    strbuf_done(&text);
}

static int stop(void *ctx, const struct sse_event *event) {
    (void)event;
    ++*(int *)ctx;
    return 42;
}

static void test_restart_and_stop(void **state) {
    struct sse_parser parser = {};
    struct strbuf seen = {};
    int n = 0;

    (void)state;
    assert_int_equal(sse_parser_feed(&parser, "id: 9\ndata: half", 16, collect, &seen, NULL), 0);
    sse_parser_restart(&parser);
    assert_string_equal(parser.id, "9");
    assert_int_equal(sse_parser_feed(&parser, "data: a\n\n", 9, collect, &seen, NULL), 0);
    assert_string_equal(seen.data, "message|9|a;");
    assert_int_equal(sse_parser_feed(&parser, "data: a\n\ndata: b\n\n", 18, stop, &n, NULL), 42);
    assert_int_equal(n, 1);
    strbuf_done(&seen);
    sse_parser_done(&parser);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events),          cmocka_unit_test(test_line_ends),
        cmocka_unit_test(test_byte_order_mark), cmocka_unit_test(test_id_with_nul),
        cmocka_unit_test(test_retry),           cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_long_names),      cmocka_unit_test(test_restart_and_stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
