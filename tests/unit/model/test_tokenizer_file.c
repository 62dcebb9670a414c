// SPDX-License-Identifier: Apache-2.0
/* Files that the tokenizer must refuse, and what a good one may choose: the demo's, changed. */
#include "tests/unit/model/tokenizer_check.h"

#include <errno.h>
#include <unistd.h>

static char *demo_text; /* the demo's tokenizer.json */

/* Writes a temporary file; @path is its template. */
static void write_temporary(char *path, const char *text, size_t size) {
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(file_write_all(fd, text, size), 0);
    close(fd);
}

static struct tokenizer *open_text(const char *text) {
    char path[] = "/tmp/test_tokenizer_XXXXXX";
    struct tokenizer *tokenizer;

    write_temporary(path, text, strlen(text));
    tokenizer = open_at(path);
    unlink(path);
    return tokenizer;
}

/* Opening the @size bytes at @file gives @want and a detail with @words in it. */
static void check_file(const char *file, size_t size, int want, const char *words) {
    char path[] = "/tmp/test_tokenizer_XXXXXX";
    struct tokenizer *tokenizer = NULL;
    struct failure failure = {0};
    int r;

    write_temporary(path, file, size);
    r = tokenizer_open(NULL, path, &tokenizer, &failure);
    unlink(path);
    if (r != want || !strstr(failure.detail, words))
        fail_msg("%d '%s', not %d '%s'", r, failure.detail, want, words);
    if (r)
        assert_string_equal(failure.code, "tokenizer_invalid");
    if (r)
        assert_null(tokenizer);
    tokenizer_free(tokenizer);
}

/*
 * The demo's file, with @value (JSON) in place of what is at @key of @object, "" being the root;
 * a @value of NULL removes it. The caller owns it.
 */
static char *change(const char *object, const char *key, const char *value) {
    cleanup(json_decrefp) json_t *root = json_loads(demo_text, 0, NULL);
    json_t *target = *object ? json_object_get(root, object) : root;
    char *text;

    assert_non_null(target);
    if (value)
        assert_int_equal(json_object_set_new(target, key, json_loads(value, JSON_DECODE_ANY, NULL)),
                         0);
    else
        json_object_del(target, key);
    text = json_dumps(root, JSON_COMPACT);
    assert_non_null(text);
    return text;
}

static void check_change(const char *object, const char *key, const char *value, int want,
                         const char *words) {
    cleanup(freep) char *text = change(object, key, value);

    check_file(text, strlen(text), want, words);
}

/* A tokenizer that differs from the demo's in one value. */
static struct tokenizer *open_change(const char *object, const char *key, const char *value) {
    cleanup(freep) char *text = change(object, key, value);

    return open_text(text);
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
    check_change("", "post_processor", "{\"type\": \"Reverse\"}", -EOPNOTSUPP, "'Reverse'");
    check_change("", "post_processor",
                 "{\"type\": \"Sequence\", \"processors\": [{\"type\": \"ByteLevel\"}, "
                 "{\"type\": \"TemplateProcessing\", \"single\": []}]}",
                 -EOPNOTSUPP, "has the text 0 times");
    check_change("", "post_processor",
                 "{\"type\": \"TemplateProcessing\", \"single\": [{\"Sequence\": {}}, "
                 "{\"Sequence\": {}}]}",
                 -EOPNOTSUPP, "has the text 2 times");
    check_change("", "post_processor",
                 "{\"type\": \"TemplateProcessing\", \"single\": [{\"Sequence\": {}}]}", 0, "");
    check_change("", "post_processor", "null", 0, "");
    check_change("model", "type", "\"Unigram\"", -EOPNOTSUPP, "'Unigram'");
    check_change("model", "type", NULL, 0, "");
    check_change("model", "ignore_merges", "1", -EBADMSG, "ignore_merges");
    check_change("model", "byte_fallback", "\"\"", -EBADMSG, "byte_fallback");
    check_change("model", "dropout", "0.5", -EOPNOTSUPP, "dropout");
    check_change("model", "dropout", "\"0\"", -EBADMSG, "dropout");
    check_change("model", "dropout", "0.0", 0, "");
    check_change("model", "end_of_word_suffix", "\"</w>\"", -EOPNOTSUPP, "end_of_word_suffix");
    check_change("model", "end_of_word_suffix", "\"\"", 0, "");
}

/* A Sequence of these @stages before a ByteLevel without a pattern of its own. */
static void check_stages(const char *stages, int want, const char *words) {
    cleanup(freep) char *value =
        str_format("{\"type\":\"Sequence\",\"pretokenizers\":[%s{\"type\":\"ByteLevel\","
                   "\"add_prefix_space\":false,\"use_regex\":false}]}",
                   stages);

    check_change("", "pre_tokenizer", value, want, words);
}

#define SPLIT(regex, rest) "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" regex "\"}," rest "},"
#define ISOLATED "\"behavior\":\"Isolated\""

static void test_hostile_stages(void **state) {
    cleanup(strbuf_done) struct strbuf deep = {0};

    (void)state;
    check_stages("", 0, "");
    check_stages(SPLIT("\\\\p{L}+|\\\\p{N}| ?[^\\\\s\\\\p{L}\\\\p{N}]+|\\\\s+", ISOLATED), 0, "");
    check_stages(SPLIT("\\\\p{L}+|\\\\p{N}|\\\\s+", ISOLATED), -EOPNOTSUPP,
                 "leaves characters out");
    check_stages(SPLIT("", ISOLATED), -EOPNOTSUPP, "leaves characters out");
    check_stages(SPLIT("\\\\p{L}+|", ISOLATED), -EOPNOTSUPP, "leaves characters out");
    check_stages(SPLIT("\\\\s+|(a|[)|])+|.", ISOLATED), -EOPNOTSUPP, "the pattern '(a|[)|])+'");
    check_stages(SPLIT("\\\\s+|((", ISOLATED), -EOPNOTSUPP, "the pattern '(('");
    check_stages(SPLIT("\\\\", ISOLATED), -EOPNOTSUPP, "the pattern");
    check_stages(SPLIT("\\\\s+", "\"behavior\":\"MergedWithNext\""), -EOPNOTSUPP,
                 "'MergedWithNext', not Isolated");
    check_stages(SPLIT("\\\\s+", ISOLATED ",\"invert\":true"), -EOPNOTSUPP, "inverted");
    check_stages(SPLIT("\\\\s+", ISOLATED ",\"invert\":7"), -EBADMSG, "'invert'");
    check_stages("{\"type\":\"Split\",\"pattern\":{\"String\":\" \"}," ISOLATED "},", -EOPNOTSUPP,
                 "no 'Regex'");
    check_stages("{\"type\":\"Whitespace\"},", -EOPNOTSUPP, "'Whitespace'");
    check_stages("{\"type\":\"ByteLevel\"},", -EOPNOTSUPP, "after ByteLevel");
    check_stages("7,", -EOPNOTSUPP, "pre_tokenizer");
    check_stages("{\"type\":\"Digits\"},{\"type\":\"Digits\"},{\"type\":\"Digits\"},"
                 "{\"type\":\"Digits\"},{\"type\":\"Digits\"},",
                 -EOPNOTSUPP, "more than 4 times");
    check_change("", "pre_tokenizer", "{\"type\":\"Sequence\",\"pretokenizers\":[]}", -EOPNOTSUPP,
                 "no ByteLevel");
    check_change("", "pre_tokenizer", "{\"type\":\"Sequence\"}", -EBADMSG, "no list");
    check_change("", "pre_tokenizer",
                 "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\"},"
                 "{\"type\":\"ByteLevel\"}]}",
                 -EOPNOTSUPP, "a space before each word");
    for (int i = 0; i < 20; i++)
        strbuf_puts(&deep, "{\"type\":\"Sequence\",\"normalizers\":[");
    strbuf_puts(&deep, "{\"type\":\"NFC\"}");
    for (int i = 0; i < 20; i++)
        strbuf_puts(&deep, "]}");
    check_change("", "normalizer", deep.data, -EBADMSG, "too deep");
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

/* Random damage, the same on every run: the file is refused, or it encodes. */
static void test_hostile_damage(void **state) {
    static const char bytes[] = "\"\\{}[]:, 0-9ae\xc4\xff";
    static const char sample[] = "The caf\u00e9's  42 <|endoftext|>\n";
    char path[] = "/tmp/test_tokenizer_XXXXXX";
    size_t size = strlen(demo_text), n_opened = 0;
    cleanup(freep) char *text = malloc(size);
    uint64_t random = 1;

    (void)state;
    assert_non_null(text);
    write_temporary(path, "", 0);
    for (int round = 0; round < 200; round++) {
        cleanup(tokenizer_freep) struct tokenizer *tokenizer = NULL;
        struct failure failure = {0};

        memcpy(text, demo_text, size);
        for (int i = 0; i <= round % 3; i++) {
            random = random * 6364136223846793005ULL + 1442695040888963407ULL;
            text[(random >> 33) % size] = bytes[(random >> 20) % (sizeof(bytes) - 1)];
        }
        assert_int_equal(file_replace(path, text, size), 0);
        if (tokenizer_open(NULL, path, &tokenizer, &failure) == 0) {
            cleanup(encoding_done) struct encoding encoding =
                encode(tokenizer, sample, sizeof(sample) - 1);

            assert_in_range(encoding.n, 1, sizeof(sample));
            n_opened++;
        } else {
            assert_string_equal(failure.code, "tokenizer_invalid");
        }
    }
    unlink(path);
    print_message("%zu of 200 damaged files could be used\n", n_opened);
}

static void test_missing_file(void **state) {
    struct tokenizer *tokenizer = NULL;
    struct failure failure = {0};

    (void)state;
    assert_int_equal(tokenizer_open(NULL, "/nonexistent/tokenizer.json", &tokenizer, &failure),
                     -ENOENT);
    assert_null(tokenizer);
    tokenizer_free(NULL);
}

/* The space goes before each stretch between added tokens, unless one is there already. */
static void test_prefix_space(void **state) {
    cleanup(tokenizer_freep) struct tokenizer *tokenizer =
        open_change("pre_tokenizer", "add_prefix_space", "true");
    cleanup(tokenizer_freep) struct tokenizer *demo = open_text(demo_text);
    cleanup(encoding_done) struct encoding want = encode(demo, " he<|endoftext|> he", 19);

    (void)state;
    check(tokenizer, "he<|endoftext|>he", 17, want.ids, want.n);
    check(tokenizer, " he<|endoftext|>he", 18, want.ids, want.n);
    CHECK_WITH(tokenizer, "<|endoftext|>", 4095);
    check(tokenizer, "", 0, NULL, 0);
}

/* Without the pattern a merge may cross what would be two words. */
static void test_no_pattern(void **state) {
    cleanup(json_decrefp) json_t *root = json_loads(demo_text, 0, NULL);
    json_t *model = json_object_get(root, "model");

    (void)state;
    json_object_set_new(json_object_get(model, "vocab"), "e-h", json_integer(6000));
    json_object_set_new(json_object_get(model, "vocab"), "e-", json_integer(6001));
    json_object_set_new(model, "merges", json_pack("[ss]", "e -", "e- h"));
    for (int use_regex = 0; use_regex < 2; use_regex++) {
        cleanup(tokenizer_freep) struct tokenizer *tokenizer = NULL;
        cleanup(freep) char *text = NULL;

        json_object_set_new(json_object_get(root, "pre_tokenizer"), "use_regex",
                            json_boolean(use_regex));
        text = json_dumps(root, 0);
        tokenizer = open_text(text);
        if (use_regex)
            CHECK_WITH(tokenizer, "he-h", 73, 70, 14, 73);
        else
            CHECK_WITH(tokenizer, "he-h", 73, 6000);
    }
}

/*
 * U+0085 and U+00A0 are white space, which leaves the space before it alone; U+180E, which PCRE2
 * takes for such, is not, and takes the space along.
 */
static void test_white_space(void **state) {
    cleanup(json_decrefp) json_t *root = json_loads(demo_text, 0, NULL);
    json_t *model = json_object_get(root, "model");
    cleanup(tokenizer_freep) struct tokenizer *tokenizer = NULL;
    cleanup(freep) char *text = NULL;

    (void)state;
    json_object_set_new(json_object_get(model, "vocab"), "\u0120\u00c2", json_integer(6000));
    json_object_set_new(json_object_get(model, "vocab"), "\u0120\u00e1", json_integer(6001));
    json_object_set_new(model, "merges", json_pack("[ss]", "\u0120 \u00c2", "\u0120 \u00e1"));
    text = json_dumps(root, 0);
    tokenizer = open_text(text);
    CHECK_WITH(tokenizer,
               " \xc2\x85"
               "b",
               222, 128, 229, 67);
    CHECK_WITH(tokenizer, " \u00a0b", 222, 128, 256, 67);
    CHECK_WITH(tokenizer, " \u00a0", 6000, 256); /* at the end the run is one word */
    CHECK_WITH(tokenizer, " \u1680b", 222, 159, 250, 224, 67);
    CHECK_WITH(tokenizer, " \u180eb", 6001, 256, 238, 67);
    CHECK_WITH(tokenizer, " \u00a2b", 6000, 97, 67);
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

static int read_demo(void **state) {
    cleanup(freep) char *path = path_in(getenv("QUANTD_SOURCE"), DEMO_PATH);
    size_t size;

    (void)state;
    demo_text = read_text(path, &size);
    return 0;
}

static int free_demo(void **state) {
    (void)state;
    free(demo_text);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hostile_shape),  cmocka_unit_test(test_hostile_kind),
        cmocka_unit_test(test_hostile_stages), cmocka_unit_test(test_hostile_vocab),
        cmocka_unit_test(test_hostile_ids),    cmocka_unit_test(test_hostile_damage),
        cmocka_unit_test(test_missing_file),   cmocka_unit_test(test_prefix_space),
        cmocka_unit_test(test_no_pattern),     cmocka_unit_test(test_white_space),
        cmocka_unit_test(test_no_normalizer),  cmocka_unit_test(test_added_longest),
        cmocka_unit_test(test_merge_order),
    };

    return cmocka_run_group_tests(tests, read_demo, free_demo);
}
