// SPDX-License-Identifier: Apache-2.0
/* Texts on the shipped demo tokenizer: reference ids, hand-made cases, giant words, threads. */
#include "tests/unit/model/tokenizer_check.h"

#include "base/clock.h"

#include <errno.h>
#include <pthread.h>

static struct tokenizer *demo;

#define CHECK_IDS(text, ...) CHECK_WITH(demo, text, __VA_ARGS__)

/* Two texts with the same ids. */
#define CHECK_SAME(a, b)                                                                           \
    do {                                                                                           \
        cleanup(encoding_done) struct encoding want = encode(demo, b, sizeof(b) - 1);              \
                                                                                                   \
        check(demo, a, sizeof(a) - 1, want.ids, want.n);                                           \
    } while (0)

static void check_invalid(const char *text, size_t size, const char *at) {
    struct failure failure = {0};
    int32_t *ids = NULL;
    size_t n = 77;

    assert_int_equal(tokenizer_encode(demo, text, size, &ids, &n, &failure), -EBADMSG);
    assert_string_equal(failure.code, "text_invalid");
    assert_non_null(strstr(failure.detail, at));
    assert_null(ids);
    assert_int_equal(n, 77);
}

/* -- texts on the demo tokenizer -------------------------------------------------------------- */

static void test_shipped_cases(void **state) {
    cleanup(freep) char *path = path_in(getenv("QUANTD_SOURCE"), "tests/data/tokens-demo.json");

    (void)state;
    check_cases(demo, path, 20);
}

static void test_empty(void **state) {
    cleanup(encoding_done) struct encoding encoding = encode(demo, NULL, 0);

    (void)state;
    assert_int_equal(encoding.n, 0);
    assert_int_equal(tokenizer_n_ids(demo), 4096);
}

/* Every byte that valid UTF-8 can hold reaches its own token. */
static void test_byte_coverage(void **state) {
    (void)state;
    CHECK_IDS(" ", 222);
    CHECK_IDS("\n", 200);
    for (uint32_t c = 0; c < 0x110000; c += c < 0x3000 ? 1 : 97) {
        char text[8];
        size_t size = 0;
        cleanup(encoding_done) struct encoding encoding = {0};

        if (c >= 0xd800 && c < 0xe000)
            continue;
        if (c < 0x80) {
            text[size++] = (char)c;
        } else {
            if (c >= 0x10000) {
                text[size++] = (char)(0xf0 | c >> 18);
                text[size++] = (char)(0x80 | (c >> 12 & 0x3f));
            } else if (c >= 0x800) {
                text[size++] = (char)(0xe0 | c >> 12);
            }
            if (c >= 0x800)
                text[size++] = (char)(0x80 | (c >> 6 & 0x3f));
            else
                text[size++] = (char)(0xc0 | c >> 6);
            text[size++] = (char)(0x80 | (c & 0x3f));
        }
        encoding = encode(demo, text, size);
        assert_in_range(encoding.n, 1, 12);
    }
}

static void test_normalization(void **state) {
    (void)state;
    CHECK_SAME("cafe\u0301", "caf\u00e9");
    CHECK_SAME("\u212b", "\u00c5");                 /* Angstrom sign */
    CHECK_SAME("e\u0323\u0302", "\u1ec7");          /* two marks in order */
    CHECK_SAME("e\u0302\u0323", "\u1ec7");          /* and not */
    CHECK_SAME("\u00ea\u0323", "\u1ec7");           /* the starter is composed already */
    CHECK_SAME("\u1112\u1161\u11ab", "\ud55c");     /* Hangul */
    CHECK_SAME("\u0958", "\u0915\u093c");           /* excluded from composition */
    CHECK_SAME("\u0340", "\u0300");                 /* a mark that is another */
    CHECK_SAME("x\u0301\u0301y", "x\u0301\u0301y"); /* nothing to compose */
    CHECK_SAME("\u0344", "\u0308\u0301");           /* one mark becomes two */
    CHECK_SAME("a\u0300b\u0301c\u0327", "\u00e0b\u0301\u00e7");
}

static void test_added_tokens(void **state) {
    (void)state;
    CHECK_IDS("<|endoftext|>", 4095);
    CHECK_IDS("<|padding|><|endoftext|>", 1, 4095);
    CHECK_IDS("a<|endoftext|>b", 66, 4095, 67);
    CHECK_IDS("|||EMAIL_ADDRESS||||||IP_ADDRESS|||", 4093, 0);
    CHECK_IDS("<|endoftext|", 29, 93, 906, 1988, 3643, 93);
    /* Runs of spaces: the longest first, the rest begins anew. */
    CHECK_IDS("  ", 4092);
    CHECK_IDS("                        ", 4070);
    CHECK_IDS("                         ", 4070, 222);
    CHECK_IDS("                          ", 4070, 4092);
    /* A special token splits the raw text: no mark joins across it, no space run either. */
    CHECK_IDS(" <|endoftext|> ", 222, 4095, 222);
    CHECK_IDS("a<|endoftext|>  b", 66, 4095, 4092, 67);
}

/* Of a run before a word, the last goes alone or with the word. */
static void test_white_space(void **state) {
    (void)state;
    CHECK_IDS("\n\n", 200, 200);
    CHECK_IDS("\t \n", 199, 222, 200);
    CHECK_IDS("a\tb", 66, 199, 67);
    CHECK_IDS("\n he", 200, 393);
}

static void test_invalid_utf8(void **state) {
    (void)state;
    check_invalid("abc\xff", 4, "offset 3");
    check_invalid("\xc0\x80", 2, "offset 0");
    check_invalid("a\xed\xa0\x80", 4, "offset 1");
    check_invalid("a\xf4\x90\x80\x80", 5, "offset 1");
    check_invalid("ok\xe2\x82", 4, "offset 2");
    check_invalid("\x80", 1, "0x80");
}

/* -- giant words ------------------------------------------------------------------------------ */

/* MiB; a quadratic step would take minutes even for the smaller one. */
#define GIANT 10
#define LARGE 2

static void time_giant(const char *name, const char *unit, size_t n_mib) {
    cleanup(freep) char *text = malloc(n_mib << 20);
    cleanup(encoding_done) struct encoding encoding = {0};
    size_t n = strlen(unit), size = (n_mib << 20) / n * n;
    double start;

    assert_non_null(text);
    for (size_t i = 0; i < size; i++)
        text[i] = unit[i % n];
    start = clock_monotonic();
    encoding = encode(demo, text, size);
    print_message("%zu MiB of %s: %zu ids in %.2f s\n", n_mib, name, encoding.n,
                  clock_monotonic() - start);
    assert_in_range(encoding.n, 1, size);
}

static void test_giant_words(void **state) {
    (void)state;
    time_giant("one letter", "a", GIANT);
    time_giant("two letters", "th", LARGE);
    time_giant("a sentence without spaces", "thequickbrownfoxjumpsoverthelazydog", GIANT);
    time_giant("digits", "31415926535", LARGE);
    time_giant("punctuation", "-", LARGE);
    time_giant("spaces", " ", GIANT);
    time_giant("newlines", "\n", GIANT);
    time_giant("wide white space", "\u00a0\u3000", LARGE);
    time_giant("Hangul", "\u1112\u1161\u11ab", LARGE);
    time_giant("marks out of order", "\u0301\u0316\u0301\u0323", LARGE);
    time_giant("almost an added token", "<|endoftext|<|padding|", LARGE);
    time_giant("apostrophes", "'", LARGE);
}

/* -- threads ---------------------------------------------------------------------------------- */

static void *encode_often(void *arg) {
    static const char text[] = "Many threads, one tokenizer: caf\u00e9<|endoftext|>   it's 42!\n";

    (void)arg;
    for (int i = 0; i < 200; i++) {
        cleanup(freep) int32_t *ids = NULL;
        size_t n = 0;

        if (tokenizer_encode(demo, text, sizeof(text) - 1, &ids, &n, NULL) || n < 10)
            return (void *)text;
    }
    return NULL;
}

static void test_threads(void **state) {
    pthread_t threads[4];
    void *failed;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, encode_often, NULL), 0);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
}

static int open_demo(void **state) {
    cleanup(freep) char *path = path_in(getenv("QUANTD_SOURCE"), DEMO_PATH);

    (void)state;
    demo = open_at(path);
    return 0;
}

static int close_demo(void **state) {
    (void)state;
    tokenizer_free(demo);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shipped_cases), cmocka_unit_test(test_empty),
        cmocka_unit_test(test_byte_coverage), cmocka_unit_test(test_normalization),
        cmocka_unit_test(test_added_tokens),  cmocka_unit_test(test_white_space),
        cmocka_unit_test(test_invalid_utf8),  cmocka_unit_test(test_giant_words),
        cmocka_unit_test(test_threads),
    };

    return cmocka_run_group_tests(tests, open_demo, close_demo);
}
