// SPDX-License-Identifier: Apache-2.0
/* Looking at answers, and a site with one job that runs. Included once by a test of the API. */
#pragma once

#include "api/wire.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "visit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define JSON_TYPE "Content-Type: application/json"
#define ASK(...) visit(*state, (struct visit){__VA_ARGS__})

static inline json_t *parse(const struct answer *answer) {
    json_t *value = NULL;
    struct failure failure = {};

    if (json_parse(answer->body.data, answer->body.length, "answer", "x", &value, &failure))
        fail_msg("%s in '%s'", failure.detail, answer->body.data);
    return value;
}

static inline const char *text_of(const json_t *value, const char *key) {
    const char *text = json_string_value(json_object_get(value, key));

    return text ? text : "";
}

/* A problem as RFC 9457 and our own members want it. Frees the answer. */
static inline void check_problem(struct answer answer, long status, const char *code) {
    cleanup(json_decrefp) json_t *problem = parse(&answer);
    char buffer[128];

    assert_int_equal(answer.result, CURLE_OK);
    if (answer.status != status)
        fail_msg("status %ld, not %ld: %s", answer.status, status, answer.body.data);
    assert_string_equal(answer_header(&answer, "Content-Type", buffer, sizeof(buffer)),
                        WIRE_PROBLEM);
    assert_int_equal(json_integer_value(json_object_get(problem, "status")), status);
    assert_string_equal(text_of(problem, "code"), code);
    assert_true(text_of(problem, "detail")[0]);
    assert_true(text_of(problem, "title")[0]);
    assert_string_equal(text_of(problem, "request_id"),
                        answer_header(&answer, "X-Request-Id", buffer, sizeof(buffer)));
    if (status == 429 || status == 503)
        assert_true(answer_header(&answer, "Retry-After", buffer, sizeof(buffer))[0]);
    answer_done(&answer);
}

static inline void check_header(const struct answer *answer, const char *name,
                                const char *expected) {
    char buffer[256];

    assert_string_equal(answer_header(answer, name, buffer, sizeof(buffer)), expected);
}

static inline int open_site(void **state) {
    struct site *site = site_open();

    fake_job(site->fake);
    *state = site;
    return 0;
}

static inline int close_site(void **state) {
    site_close(*state);
    return 0;
}
