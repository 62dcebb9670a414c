// SPDX-License-Identifier: Apache-2.0
/* Windows of the public data sets against those that the reference ran through the demo model. */
#include "tests/unit/pipeline/windows_reference.h"
#include "tests/unit/shared.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static char *hub, *expected;

/* "wikitext2-train" of the reference is our wikitext2. */
static char *dataset_name(const char *calibrate) {
    char *name = strdup(calibrate), *dash = strchr(name, '-');

    assert_non_null(dash);
    assert_string_equal(dash, "-train");
    *dash = '\0';
    return name;
}

static int seqlen_of(const json_t *row) {
    return (int)json_integer_value(json_object_get(row, "seqlen"));
}

static void check_row(const struct corpora *corpora, const struct tokenizer *tokenizer,
                      const json_t *row) {
    const json_t *config = json_object_get(row, "config");
    const char *calibrate = json_string_value(json_object_get(config, "calibrate"));
    int n = (int)json_integer_value(json_object_get(config, "nsamples"));

    if (!calibrate)
        return;
    cleanup(freep) char *name = dataset_name(calibrate);
    cleanup(windows_freep) struct windows *windows =
        sample(corpora, tokenizer, name, n, seqlen_of(row));

    expect_heads(row, windows);
}

/* Is there an earlier row with the same windows? Checking it once is enough. */
static bool seen_before(const json_t *rows, size_t n, const json_t *row) {
    for (size_t i = 0; i < n; i++) {
        const json_t *earlier = json_array_get(rows, i);

        if (seqlen_of(earlier) == seqlen_of(row) &&
            str_equal(
                json_string_value(json_object_get(json_object_get(earlier, "config"), "calibrate")),
                json_string_value(json_object_get(json_object_get(row, "config"), "calibrate"))))
            return true;
    }
    return false;
}

static void test_calibration(void **state) {
    struct source_mirror mirror;
    struct corpora corpora = {.source = &mirror.source};
    cleanup(freep) char *tokenizer_path = source_path("data/olmoe-demo/tokenizer.json");
    cleanup(tokenizer_freep) struct tokenizer *tokenizer = NULL;
    cleanup(json_decrefp) json_t *rows = NULL;
    int n_checked = 0;

    (void)state;
    source_mirror_init(&mirror, &hub, 1);
    assert_int_equal(tokenizer_open(NULL, tokenizer_path, &tokenizer, NULL), 0);
    assert_int_equal(json_parse_file(expected, 1 << 20, "invalid", &rows, NULL), 0);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);

        if (seen_before(rows, i, row))
            continue;
        check_row(&corpora, tokenizer, row);
        n_checked++;
    }
    assert_true(n_checked >= 4); /* none, wikitext2, ptb, c4 */
}

/* As many windows as the reference measured, from as many tokens as it counted. */
static void test_evaluation(void **state) {
    static const struct {
        const char *name;
        int seqlen, n;
        uint64_t n_tokens; /* 0: depends on what was drawn */
    } cases[] = {
        {"wikitext2", 512, 817, 418653}, {"wikitext2", 256, 1635, 418653},
        {"ptb", 512, 240, 123013},       {"ptb-new", 512, 253, 129585},
        {"c4-new", 512, 256, 272477},    {"c4", 256, 256, 0},
    };
    struct source_mirror mirror;
    struct corpora corpora = {.source = &mirror.source};
    cleanup(freep) char *tokenizer_path = source_path("data/olmoe-demo/tokenizer.json");
    cleanup(tokenizer_freep) struct tokenizer *tokenizer = NULL;

    (void)state;
    source_mirror_init(&mirror, &hub, 1);
    assert_int_equal(tokenizer_open(NULL, tokenizer_path, &tokenizer, NULL), 0);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        cleanup(windows_freep) struct windows *windows =
            cut(&corpora, tokenizer, cases[i].name, cases[i].seqlen);

        assert_int_equal(windows->n, cases[i].n);
        if (cases[i].n_tokens)
            assert_int_equal(windows->n_tokens, cases[i].n_tokens);
    }
}

/* The documents at hand are short: none has 1024 tokens, and that must be found out. */
static void test_documents_too_short(void **state) {
    struct source_mirror mirror;
    struct corpora corpora = {.source = &mirror.source};
    cleanup(freep) char *tokenizer_path = source_path("data/olmoe-demo/tokenizer.json");
    cleanup(tokenizer_freep) struct tokenizer *tokenizer = NULL;
    cleanup(corpus_freep) struct corpus *corpus = NULL;
    struct windows *windows = NULL;
    struct failure failure = {};

    (void)state;
    source_mirror_init(&mirror, &hub, 1);
    assert_int_equal(tokenizer_open(NULL, tokenizer_path, &tokenizer, NULL), 0);
    corpus = load_corpus(&corpora, "c4", CORPUS_CALIBRATION);
    assert_int_equal(windows_sample(corpus, tokenizer, 128, 1024, 0, &windows, &failure), -ENODATA);
    assert_string_equal(failure.code, "dataset_too_short");
    assert_non_null(strstr(failure.detail, "longest document"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calibration),
        cmocka_unit_test(test_evaluation),
        cmocka_unit_test(test_documents_too_short),
    };
    int r;

    hub = shared_path("hub");
    expected = shared_path("expected/reference-fp32.json");
    if (!hub || !expected) {
        puts("skipped: the benchmark texts are not here (QUANTD_SHARED)");
        return 77;
    }
    r = cmocka_run_group_tests(tests, NULL, NULL);
    free(hub);
    free(expected);
    return r;
}
