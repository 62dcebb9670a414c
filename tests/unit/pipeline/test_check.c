// SPDX-License-Identifier: Apache-2.0
/*
 * Texts that have no window, before a job is taken: of letters that are a token each, with the
 * demo model.
 */
#include "daemon/pipeline/params/check.h"

#include "daemon/pipeline/params/request.h"
#include "tests/unit/data/world.h"
#include "tests/unit/shared.h"

#define SEQLEN 64
#define ENOUGH (SEQLEN * 32) /* bytes from which a text is not read */

/* Text root0/@name of @n letters. */
static void put_letters(const struct world *world, const char *name, size_t n) {
    cleanup(freep) char *path = str_format("root0/%s", name), *text = malloc(n + 1);

    for (size_t i = 0; i < n; i++)
        text[i] = "qxzjQXZJ"[(i * i * 3 + i / 7) % 8];
    put(world, path, text, n);
}

/* check_job() of a job of @kind whose data set or evaluation set is @name. */
static int check(struct world *world, enum job_kind kind, const char *name, bool here) {
    cleanup(json_decrefp) json_t *request =
        kind == JOB_EVAL
            ? json_pack("{s:s s:[s] s:i}", "model", "demo", "eval", name, "seqlen", SEQLEN)
            : json_pack("{s:s s:s s:i s:[] s:i}", "model", "demo", "dataset", name, "wbits", 4,
                        "eval", "seqlen", SEQLEN);
    cleanup(params_freep) struct params *params = NULL;
    cleanup(freep) char *demo = source_path("data/olmoe-demo");
    char warning[CHECK_WARNING_SIZE];

    world->failure = (struct failure){};
    assert_int_equal(params_parse(kind, request, &params, &world->failure), 0);
    return check_job(NULL, here ? demo : "", params, &world->corpora, warning, &world->failure);
}

static void expect_short(struct world *world, enum job_kind kind, const char *name,
                         const char *words) {
    assert_int_equal(check(world, kind, name, true), -EINVAL);
    assert_string_equal(world->failure.code, "dataset_too_short");
    assert_string_equal(world->failure.field, kind == JOB_EVAL ? "eval" : "dataset");
    assert_non_null(strstr(world->failure.detail, name));
    assert_non_null(strstr(world->failure.detail, words));
    assert_non_null(strstr(world->failure.hint, "longer text"));
}

/* A window to evaluate has seqlen tokens; one to calibrate is drawn from one more. */
static void test_text(void **state) {
    struct world *world = *state;

    put_letters(world, "a.txt", SEQLEN - 1);
    expect_short(world, JOB_EVAL, "file:a.txt", "of 64 tokens: the text has 63");
    put_letters(world, "a.txt", SEQLEN);
    assert_int_equal(check(world, JOB_EVAL, "file:a.txt", true), 0);
    expect_short(world, JOB_QUANTIZE, "file:a.txt", "of 65 tokens: the text has 64");
    put_letters(world, "a.txt", SEQLEN + 1);
    assert_int_equal(check(world, JOB_QUANTIZE, "file:a.txt", true), 0);
    put_letters(world, "a.txt", 0);
    expect_short(world, JOB_EVAL, "file:a.txt", "the text has 0");
}

/* Documents are measured as one text; to calibrate, each that is long enough is one. */
static void test_documents(void **state) {
    struct world *world = *state;
    struct strbuf lines = {};

    for (int i = 0; i < 4; i++)
        strbuf_puts(&lines, "{\"text\": \"qxzjQXZJqxzjQXZJ\"}\n"); /* 16 tokens, 17 with a blank */
    put(world, "root0/a.jsonl", lines.data, lines.length / 4 * 3);
    expect_short(world, JOB_EVAL, "file:a.jsonl", "64 tokens");
    expect_short(world, JOB_QUANTIZE, "file:a.jsonl", "65 tokens");
    put(world, "root0/a.jsonl", lines.data, lines.length);
    assert_int_equal(check(world, JOB_EVAL, "file:a.jsonl", true), 0);
    assert_int_equal(check(world, JOB_QUANTIZE, "file:a.jsonl", true), 0);
    strbuf_done(&lines);
}

/* What is wrong with a text of few bytes is found, too; a larger one is not read. */
static void test_not_read(void **state) {
    cleanup(freep) char *large = malloc(ENOUGH + 1);
    struct world *world = *state;

    memset(large, ' ', ENOUGH + 1); /* few tokens have many bytes */
    memset(large + ENOUGH - 1, 0xff, 2);
    put(world, "root0/a.txt", large, ENOUGH + 1);
    assert_int_equal(check(world, JOB_EVAL, "file:a.txt", true), 0);
    put(world, "root0/a.txt", large, ENOUGH);
    assert_int_equal(check(world, JOB_EVAL, "file:a.txt", true), -EINVAL);
    assert_string_equal(world->failure.code, "dataset_invalid");
}

/* Without the model there are no tokens, and public sets are not read. */
static void test_not_known(void **state) {
    struct world *world = *state;

    put_letters(world, "a.txt", 3);
    assert_int_equal(check(world, JOB_EVAL, "file:a.txt", false), 0);
    assert_int_equal(check(world, JOB_EVAL, "ptb", true), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        with_world(test_text),
        with_world(test_documents),
        with_world(test_not_read),
        with_world(test_not_known),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
