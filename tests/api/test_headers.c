// SPDX-License-Identifier: Apache-2.0
/* Parsers of header values, on their own. */
#include "api/header/etag.h"
#include "api/header/media.h"
#include "api/header/range.h"
#include "base/macros.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void test_accept(void **state) {
    static const struct {
        const char *accept;
        bool accepts, asks;
    } cases[] = {
        {NULL, true, false},
        {"", true, false},
        {"  ", true, false},
        {"*/*", true, false},
        {"text/*", true, false},
        {"text/event-stream", true, true},
        {"TEXT/Event-Stream ; q=0.5", true, true},
        {"application/json, text/event-stream;charset=utf-8", true, true},
        {"text/event-stream;q=0", false, false},
        {"text/event-stream;q=0.000, */*", false, false},
        {"text/event-stream;q=0.001, */*;q=0", true, true},
        {"text/event-stream; a=b; q=0 ", false, false},
        {"text/event-streams", false, false},
        {"application/json", false, false},
        {"text/html, ,;q=1,*", false, false},
        {"text", false, false},
        {"text/", false, false},
        {",,,,", false, false},
        {";", false, false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        if (media_accepts(cases[i].accept, "text/event-stream") != cases[i].accepts ||
            media_asks(cases[i].accept, "text/event-stream") != cases[i].asks)
            fail_msg("'%s'", cases[i].accept);
    }
    assert_true(media_is(" application/JSON ;charset=x", "application/json"));
    assert_true(media_is("application/json", "application/json"));
    assert_false(media_is("application/json2", "application/json"));
    assert_false(media_is("", "application/json"));
    assert_false(media_is(NULL, "application/json"));
}

static void test_etag(void **state) {
    char tag[ETAG_SIZE];

    (void)state;
    etag_of_version(0xab, 12, tag);
    assert_string_equal(tag, "\"000000ab-12\"");
    assert_int_equal(etag_known_version(tag, 0xab), 12);
    assert_int_equal(etag_known_version(tag, 0xac), 0);
    assert_int_equal(etag_known_version("\"x\" , W/\"000000ab-7\"", 0xab), 7);
    assert_int_equal(etag_known_version("\"000000ab-07\"", 0xab), 0);
    assert_int_equal(etag_known_version("\"000000ab--7\"", 0xab), 0);
    assert_int_equal(etag_known_version("\"000000ab-7", 0xab), 0);
    assert_int_equal(etag_known_version("000000ab-7", 0xab), 0);
    assert_int_equal(etag_known_version("\"000000ab-99999999999999999999999\"", 0xab), 0);
    assert_int_equal(etag_known_version(NULL, 0xab), 0);
    assert_true(etag_matches("*", tag));
    assert_true(etag_matches("\"a,b\", \"000000ab-12\"", tag));
    assert_true(etag_matches("W/\"000000ab-12\"", tag));
    assert_false(etag_matches("\"000000ab-1\"", tag));
    assert_false(etag_matches("", tag));
    assert_false(etag_matches("\"", tag));
    assert_false(etag_matches("W/", tag));
    assert_false(etag_matches(NULL, tag));
}

/* Every range over small sizes, against the definition. */
static void test_range(void **state) {
    char header[64];

    (void)state;
    for (uint64_t size = 0; size < 6; size++)
        for (uint64_t a = 0; a < 8; a++)
            for (uint64_t b = 0; b < 8; b++) {
                uint64_t first = 99, length = 99;
                enum range_kind kind;

                snprintf(header, sizeof(header), "bytes=%d-%d", (int)a, (int)b);
                kind = range_parse(header, size, &first, &length);
                assert_int_equal(kind, b < a       ? RANGE_ALL
                                       : a >= size ? RANGE_UNSATISFIABLE
                                                   : RANGE_PART);
                if (kind == RANGE_PART) {
                    assert_int_equal(first, a);
                    assert_int_equal(length, MIN(b, size - 1) - a + 1);
                }
                snprintf(header, sizeof(header), "bytes=-%d", (int)b);
                kind = range_parse(header, size, &first, &length);
                assert_int_equal(kind, b && size ? RANGE_PART : RANGE_UNSATISFIABLE);
                if (kind == RANGE_PART)
                    assert_int_equal(first + length, size);
            }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accept),
        cmocka_unit_test(test_etag),
        cmocka_unit_test(test_range),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
