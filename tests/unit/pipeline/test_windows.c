// SPDX-License-Identifier: Apache-2.0
/*
 * Windows against the figures that the project carries, and against a Python script that draws
 * them with the random module from texts whose tokens are their letters.
 */
#include "base/macros.h"
#include "tests/unit/pipeline/windows_reference.h"
#include "tests/unit/shared.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

static struct tokenizer *tokenizer;

/* No merge of the demo tokenizer joins two of them. */
static const char letters[] = "qxzjQXZJ";

static char letter(size_t document, size_t at) {
    return letters[(document * document + at * at * 3 + at / 7 + document) % 8];
}

/* @n letters of document 3 as one text */
static struct corpus *text_of_letters(size_t n) {
    struct corpus *corpus = calloc(1, sizeof(*corpus));

    corpus->text = malloc(n + 1);
    corpus->size = n;
    for (size_t i = 0; i < n; i++)
        corpus->text[i] = letter(3, i);
    corpus->text[n] = '\0';
    return corpus;
}

/* 50 documents of 0 to 63 letters; one of exactly 48, one of 63 */
static struct corpus *documents_of_letters(void) {
    struct corpus *corpus = calloc(1, sizeof(*corpus));
    struct strbuf text = {};

    corpus->n_documents = 50;
    corpus->documents = calloc(corpus->n_documents + 1, sizeof(*corpus->documents));
    for (size_t i = 0; i < corpus->n_documents; i++) {
        for (size_t k = 0; k < i * 37 % 64; k++) {
            char c = letter(i, k);

            strbuf_append(&text, &c, 1);
        }
        corpus->documents[i + 1] = text.length;
    }
    corpus->size = text.length;
    corpus->text = strbuf_steal(&text);
    return corpus;
}

struct sampled {
    int n, seqlen;
    uint64_t seed;
    const char *sha256;
};

static void expect_sampled(const struct corpus *corpus, const struct sampled *cases, size_t n) {
    for (size_t i = 0; i < n; i++) {
        cleanup(windows_freep) struct windows *windows = NULL;

        assert_int_equal(windows_sample(corpus, tokenizer, cases[i].n, cases[i].seqlen,
                                        cases[i].seed, &windows, NULL),
                         0);
        assert_string_equal(windows->sha256, cases[i].sha256);
    }
}

static void test_sample_text(void **state) {
    static const struct sampled cases[] = {
        {128, 48, 0, "ed428baada7ddd8e30ff690b6445e5303ccb435b5e265ff4bbc0f0c434699911"},
        {7, 999, 1, "34dc12cdd4bce2045c82e48f70250eb61ebb4d793751c70aa9d0deaf2a9408c2"},
        {16, 2, 1ULL << 63, "ec279645327e84b266bca0c5019db6dc4ffa1f29cd1a246b38fcccc5b930a387"},
    };
    cleanup(corpus_freep) struct corpus *corpus = text_of_letters(1000);

    (void)state;
    expect_sampled(corpus, cases, ARRAY_SIZE(cases));
}

static void test_sample_documents(void **state) {
    static const struct sampled cases[] = {
        {128, 48, 0, "0d4daafb10f372ff1e564c74998267f435ead79c55b3e9bb5f1779601733aead"},
        {128, 63, 0, "ca7b8777a3574c5f3ee03630c2465f89eef4c53e78fe2141a6e3927f721627d8"},
        {16, 48, 42, "bec7d87dfdac85b069a73b9cc612de8df9049fa846d51251df740e998d34335b"},
        {5, 2, (1ULL << 40) + 3,
         "3c3703b292a0ba65f9ac742c937b6432d3bcc71d775d2351e1e0e5d93bf49853"},
    };
    cleanup(corpus_freep) struct corpus *corpus = documents_of_letters();

    (void)state;
    expect_sampled(corpus, cases, ARRAY_SIZE(cases));
}

/* The same windows as without a gap, which no window may reach into. */
static void test_sample_gap(void **state) {
    cleanup(corpus_freep) struct corpus *plain = documents_of_letters();
    cleanup(corpus_freep) struct corpus *corpus = documents_of_letters();
    cleanup(strbuf_done) struct strbuf text = {};

    (void)state;
    for (size_t i = 0; i < plain->n_documents; i++) {
        size_t start = plain->documents[i];

        strbuf_puts(&text, i ? "  " : "");
        corpus->documents[i] = text.length;
        strbuf_append(&text, plain->text + start, plain->documents[i + 1] - start);
    }
    free(corpus->text);
    corpus->gap = 2;
    corpus->documents[corpus->n_documents] = corpus->size = text.length;
    corpus->text = strbuf_steal(&text);
    for (int n = 1; n < 130; n += 43) {
        cleanup(windows_freep) struct windows *expected = NULL;
        cleanup(windows_freep) struct windows *windows = NULL;

        assert_int_equal(windows_sample(plain, tokenizer, n, 48, 5, &expected, NULL), 0);
        assert_int_equal(windows_sample(corpus, tokenizer, n, 48, 5, &windows, NULL), 0);
        assert_string_equal(windows->sha256, expected->sha256);
        assert_int_equal(windows->n_tokens, expected->n_tokens);
    }
}

/* With fewer long documents than windows, all of the text is drawn from. */
static void test_sample_joinable(void **state) {
    cleanup(corpus_freep) struct corpus *corpus = documents_of_letters();
    cleanup(corpus_freep) struct corpus *joined = documents_of_letters();
    int n_long = 0;

    (void)state;
    for (size_t i = 0; i < corpus->n_documents; i++)
        n_long += corpus->documents[i + 1] - corpus->documents[i] >= 50;
    corpus->joinable = true;
    joined->n_documents = 0;
    for (int n = n_long - 1; n <= n_long + 1; n++) {
        cleanup(corpus_freep) struct corpus *c4 = documents_of_letters();
        cleanup(windows_freep) struct windows *expected = NULL;
        cleanup(windows_freep) struct windows *windows = NULL;

        assert_int_equal(
            windows_sample(n > n_long ? joined : c4, tokenizer, n, 50, 1, &expected, NULL), 0);
        assert_int_equal(windows_sample(corpus, tokenizer, n, 50, 1, &windows, NULL), 0);
        assert_string_equal(windows->sha256, expected->sha256);
    }
    /* Also when none is long enough at all. */
    cleanup(windows_freep) struct windows *expected = NULL;
    cleanup(windows_freep) struct windows *windows = NULL;
    assert_int_equal(windows_sample(joined, tokenizer, 3, 100, 1, &expected, NULL), 0);
    assert_int_equal(windows_sample(corpus, tokenizer, 3, 100, 1, &windows, NULL), 0);
    assert_string_equal(windows->sha256, expected->sha256);
}

static void test_cut(void **state) {
    static const struct {
        int seqlen, max_windows, n;
        const char *sha256;
    } cases[] = {
        {48, 0, 20, "ed259a46d36439603fedab8719a123542d74f0bec3684238373a54b78cefada2"},
        {7, 0, 142, "2b7b69286c77297366cd88373d70cbf7bdff9b4348a1a8c4c39c88c95d4af10a"},
        {1000, 0, 1, "aa95c01dde9be310b50ad55a3e90ac9324015b17c3e832b6aa7507dbf6951379"},
        {7, 5, 5, "ed1f1ae5220d0e0d570b6f43f5a76ef004b0eae3667af86486af50a352f93a3a"},
        {48, 256, 20, "ed259a46d36439603fedab8719a123542d74f0bec3684238373a54b78cefada2"},
    };
    cleanup(corpus_freep) struct corpus *corpus = text_of_letters(1000);

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        cleanup(windows_freep) struct windows *windows = NULL;

        corpus->max_windows = cases[i].max_windows;
        assert_int_equal(windows_cut(corpus, tokenizer, cases[i].seqlen, &windows, NULL), 0);
        assert_int_equal(windows->n, cases[i].n);
        assert_int_equal(windows->n_tokens, 1000);
        assert_string_equal(windows->sha256, cases[i].sha256);
    }
}

/* Whatever the calibration's seed is, documents are evaluated with seed 0. */
static void test_cut_documents(void **state) {
    cleanup(corpus_freep) struct corpus *corpus = documents_of_letters();
    cleanup(windows_freep) struct windows *windows = NULL;

    (void)state;
    assert_int_equal(windows_cut(corpus, tokenizer, 48, &windows, NULL), 0);
    assert_int_equal(windows->n, 256);
    assert_string_equal(windows->sha256,
                        "961f36ef0b0dd772de88c9b6c84f9ac996e050cf2b30c5be097b7a0ed8d5fdc6");
}

static void expect_short(int r, const struct failure *failure, const char *words) {
    assert_int_equal(r, -ENODATA);
    assert_string_equal(failure->code, "dataset_too_short");
    if (!strstr(failure->detail, words))
        fail_msg("'%s' does not say '%s'", failure->detail, words);
    assert_int_not_equal(failure->hint[0], '\0');
}

static void test_too_short(void **state) {
    cleanup(corpus_freep) struct corpus *documents = documents_of_letters();
    cleanup(corpus_freep) struct corpus *text = text_of_letters(1000);
    cleanup(corpus_freep) struct corpus *empty = text_of_letters(0);
    struct windows *windows = NULL;
    struct failure f = {};

    (void)state;
    /* randint(0, -1) is an error in Python: a text must have a token more than the window */
    expect_short(windows_sample(text, tokenizer, 4, 1000, 0, &windows, &f), &f, "1000");
    expect_short(windows_cut(text, tokenizer, 1001, &windows, &f), &f, "1000");
    expect_short(windows_cut(text, tokenizer, INT_MAX, &windows, &f), &f, "1000");
    expect_short(windows_sample(empty, tokenizer, 4, 8, 0, &windows, &f), &f, "has 0");
    expect_short(windows_cut(empty, tokenizer, 8, &windows, &f), &f, "has 0");
    expect_short(windows_sample(documents, tokenizer, 4, 64, 0, &windows, &f), &f, "has 63");
    expect_short(windows_cut(documents, tokenizer, 64, &windows, &f), &f, "has 63");
    assert_null(windows);
}

static void test_bad_parameters(void **state) {
    static const struct {
        int n, seqlen;
    } cases[] = {{0, 8},
                 {-1, 8},
                 {4, 1},
                 {4, 0},
                 {4, -8},
                 {INT_MIN, INT_MIN},
                 {INT_MAX, INT_MAX},
                 {1 << 20, 1 << 12}};
    cleanup(corpus_freep) struct corpus *corpus = text_of_letters(100);
    struct windows *windows = NULL;
    struct failure f;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        f = (struct failure){};
        assert_int_equal(
            windows_sample(corpus, tokenizer, cases[i].n, cases[i].seqlen, 0, &windows, &f),
            -EINVAL);
        assert_string_equal(f.code, "parameter_invalid");
    }
    assert_int_equal(windows_cut(corpus, tokenizer, 1, &windows, &f), -EINVAL);
    assert_int_equal(windows_cut(corpus, tokenizer, 0, &windows, &f), -EINVAL);
    assert_int_equal(windows_cut(corpus, tokenizer, -5, &windows, &f), -EINVAL);
    assert_null(windows);
}

/* The rows of the shipped reference: calibrated on one text, evaluated on the other. */
static void test_reference(void **state) {
    cleanup(freep) char *root = source_path("data/texts");
    cleanup(freep) char *path = source_path("tests/data/reference-texts-fp32.json");
    cleanup(json_decrefp) json_t *rows = NULL;
    cleanup(windows_freep) struct windows *calibration = NULL;
    cleanup(windows_freep) struct windows *evaluation = NULL;
    struct corpora corpora = {.data_roots = &root, .n_data_roots = 1};
    int n_heads = 0;
    json_t *row;
    size_t i;

    (void)state;
    assert_int_equal(json_parse_file(path, 1 << 20, "invalid", &rows, NULL), 0);
    calibration = sample(&corpora, tokenizer, "file:demo-calibration.txt", 128, 512);
    evaluation = cut(&corpora, tokenizer, "file:demo-evaluation.txt", 512);
    assert_int_equal(calibration->n_tokens, 256845);
    assert_int_equal(evaluation->n_tokens, 64196);
    json_array_foreach(rows, i, row) {
        const json_t *n = json_object_get(json_object_get(row, "windows"), "evaluation");

        assert_int_equal(json_integer_value(json_object_get(row, "seqlen")), 512);
        assert_int_equal(json_integer_value(n), evaluation->n);
        if (!json_object_get(row, "first_segment_head"))
            continue;
        expect_heads(row, calibration);
        n_heads++;
    }
    assert_true(n_heads > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sample_text), cmocka_unit_test(test_sample_documents),
        cmocka_unit_test(test_sample_gap),  cmocka_unit_test(test_sample_joinable),
        cmocka_unit_test(test_cut),         cmocka_unit_test(test_cut_documents),
        cmocka_unit_test(test_too_short),   cmocka_unit_test(test_bad_parameters),
        cmocka_unit_test(test_reference),
    };
    cleanup(freep) char *path = source_path("data/olmoe-demo/tokenizer.json");
    struct failure failure = {};
    int r;

    if (tokenizer_open(NULL, path, &tokenizer, &failure)) {
        print_error("%s\n", failure.detail);
        return EXIT_FAILURE;
    }
    r = cmocka_run_group_tests(tests, NULL, NULL);
    tokenizer_free(tokenizer);
    return r;
}
