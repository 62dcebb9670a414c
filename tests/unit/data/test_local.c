// SPDX-License-Identifier: Apache-2.0
/* file:PATH: which files it reads, and what it makes of them. */
#include "tests/unit/data/world.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <zlib.h>

static void test_local(void **state) {
    static const char text[] = "caf\xc3\xa9 \0 end";
    struct world *world = *state;
    cleanup(corpus_freep) struct corpus *corpus = NULL;

    put(world, "root1/deep/a.txt", text, sizeof(text) - 1);
    put(world, "root0/b.txt", "first", 5);
    put(world, "root1/b.txt", "second", 6);
    put(world, "root1/empty.txt", "", 0);
    expect_text(world, "file:b.txt", CORPUS_CALIBRATION, "first");
    expect_text(world, "file:./empty.txt", CORPUS_EVALUATION, "");
    assert_int_equal(corpus_load(&world->corpora, "file:deep//a.txt", CORPUS_EVALUATION, &corpus,
                                 &world->failure),
                     0);
    assert_int_equal(corpus->size, sizeof(text) - 1);
    assert_memory_equal(corpus->text, text, sizeof(text));
    put(world, "root0/latin.txt", "caf\xe9", 4);
    expect_failure(world, "file:latin.txt", CORPUS_EVALUATION, -EBADMSG, "dataset_invalid",
                   "not UTF-8 at byte 3");
    expect_failure(world, "file:none", CORPUS_EVALUATION, -ENOENT, "dataset_not_found",
                   "no data root has 'none'");
    expect_failure(world, "file:b.txt/x", CORPUS_EVALUATION, -ENOENT, "dataset_not_found",
                   "no data root");
    world->corpora.n_data_roots = 0;
    expect_failure(world, "file:b.txt", CORPUS_EVALUATION, -ENOENT, "dataset_not_found",
                   "no data root");
    assert_non_null(strstr(world->failure.hint, "--data-root"));
}

static void link_to(const struct world *world, const char *target, const char *name) {
    cleanup(freep) char *path = place(world, name);

    assert_int_equal(symlink(target, path), 0);
}

static void test_local_escapes(void **state) {
    struct world *world = *state;
    cleanup(freep) char *outside = place(world, "outside.txt");
    cleanup(freep) char *absolute = str_format("file:%s", outside);

    put(world, "outside.txt", "secret", 6);
    put(world, "root0/in.txt", "inside", 6);
    link_to(world, "../outside.txt", "root0/relative");
    link_to(world, outside, "root0/absolute");
    link_to(world, "..", "root0/up");
    link_to(world, "loop", "root0/loop");
    link_to(world, "/proc/self/cwd", "root0/magic");
    link_to(world, "in.txt", "root0/fine");
    expect_text(world, "file:fine", CORPUS_EVALUATION, "inside");

    static const char *const names[] = {
        "file:../outside.txt", "file:in/../../outside.txt",
        "file:relative",       "file:absolute",
        "file:up/outside.txt", "file:loop",
        "file:magic",          "file:",
    };
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        expect_failure(world, names[i], CORPUS_EVALUATION, -ENOENT, "dataset_not_found",
                       "no data root");
    expect_failure(world, absolute, CORPUS_EVALUATION, -ENOENT, "dataset_not_found",
                   "not in a data root");
    assert_non_null(strstr(world->failure.hint, world->roots[0])); /* says where texts may be */
    assert_non_null(strstr(world->failure.hint, world->roots[1]));
}

/* Nothing but a file is read, and nothing makes the reader wait. */
static void test_local_kinds(void **state) {
    struct world *world = *state;
    cleanup(freep) char *fifo = place(world, "root0/fifo");
    cleanup(freep) char *inner = place(world, "root0/folder/inner");
    cleanup(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(mkfifo(inner, 0600), 0);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/root0/socket", world->base);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    expect_failure(world, "file:fifo", CORPUS_EVALUATION, -EBADMSG, "dataset_invalid",
                   "not a regular file");
    expect_failure(world, "file:folder", CORPUS_EVALUATION, -EBADMSG, "dataset_invalid",
                   "not a regular file");
    expect_failure(world, "file:socket", CORPUS_EVALUATION, -EBADMSG, "dataset_invalid",
                   "not a regular file");
}

static void test_local_large(void **state) {
    struct world *world = *state;
    cleanup(freep) char *path = place(world, "root0/large");

    put(world, "root0/large", "", 0);
    assert_int_equal(truncate(path, ((off_t)1 << 30) + 1), 0);
    expect_failure(world, "file:large", CORPUS_EVALUATION, -EBADMSG, "dataset_invalid",
                   "more than 1073741824 bytes");
}

/* The root bounds what may be read, not how it is named. */
static void test_local_absolute(void **state) {
    struct world *world = *state;
    cleanup(freep) char *inside = str_format("file:%s/root1/deep/a.txt", world->base);
    cleanup(freep) char *slashes = str_format("file:%s/root1//deep/./a.txt", world->base);
    cleanup(freep) char *beside = str_format("file:%s/root10/a.txt", world->base);
    cleanup(freep) char *root = str_format("file:%s/root1", world->base);
    cleanup(freep) char *other = str_format("%s/other", world->base);

    put(world, "root1/deep/a.txt", "deep", 4);
    put(world, "root10/a.txt", "beside", 6);
    expect_text(world, inside, CORPUS_EVALUATION, "deep");
    expect_text(world, slashes, CORPUS_EVALUATION, "deep");
    expect_failure(world, beside, CORPUS_EVALUATION, -ENOENT, "dataset_not_found", "data root");
    expect_failure(world, root, CORPUS_EVALUATION, -ENOENT, "dataset_not_found", "data root");
    /* A root that is a link: both names of it are the root's. */
    link_to(world, "root1", "other");
    free(world->roots[1]);
    world->roots[1] = steal_ptr(other);
    expect_text(world, inside, CORPUS_EVALUATION, "deep");
}

static void expect_documents(struct world *world, const char *name, const char *text,
                             const size_t *starts, size_t n) {
    cleanup(corpus_freep) struct corpus *corpus = NULL;

    expect_text(world, name, CORPUS_EVALUATION, text);
    assert_int_equal(
        corpus_load(&world->corpora, name, CORPUS_CALIBRATION, &corpus, &world->failure), 0);
    assert_string_equal(corpus->text, text);
    assert_int_equal(corpus->n_documents, n);
    assert_memory_equal(corpus->documents, starts, (n + 1) * sizeof(*starts));
    assert_int_equal(corpus->gap, 1);
    assert_true(corpus->joinable);
}

static void test_json_lines(void **state) {
    static const char lines[] = "{\"text\":\"one\\n\",\"id\":1,\"body\":\"x\"}\r\n"
                                "\n"
                                "{\"text\":\"caf\\u00e9\",\"body\":\"yy\"}";
    static const size_t starts[] = {0, 5, 10}, body[] = {0, 2, 4};
    static const char *const names[] = {"a.jsonl", "a.JSON", "a.ndjson", "a#1.jsonl"};
    struct world *world = *state;

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        cleanup(freep) char *path = str_format("root0/%s", names[i]);
        cleanup(freep) char *name = str_format("file:%s", names[i]);
        cleanup(freep) char *field = str_format("file:%s#body", names[i]);

        put(world, path, lines, strlen(lines));
        expect_documents(world, name, "one\n caf\xc3\xa9", starts, 2);
        expect_documents(world, field, "x yy", body, 2);
    }
    put(world, "root0/bom.jsonl", "\xef\xbb\xbf{\"text\":\"x\"}", 15);
    expect_text(world, "file:bom.jsonl", CORPUS_EVALUATION, "x");
    put(world, "root0/a.txt", lines, strlen(lines));
    expect_text(world, "file:a.txt", CORPUS_EVALUATION, lines);
    put(world, "root0/b.txt#body", "named so", 8);
    expect_text(world, "file:b.txt#body", CORPUS_EVALUATION, "named so");
}

static void test_bad_json_lines(void **state) {
    static const struct {
        const char *lines, *words, *hint;
    } cases[] = {
        {"{\"text\":\"a\"}\n{\"text\":", "line 2", ""},
        {"{\"text\":\"a\"}\n\n{\"n\":1}", "line 3", "into a field 'text'"},
        {"{\"prompt\":\"a\",\"n\":7,\"answer\":\"\"}", "prompt, answer", "#FIELD"},
        {"[{\"text\":\"a\"}]", "line 1", "an object a line"},
        {"[\n{\"text\":\"a\"}]", "line 1", ""},
        {"\"text\"", "not an object", "JSON lines"},
        {"{\"text\":\"\xff\"}\n", "line 1", ""},
        {"", "no document", "JSON lines"},
        {"\n \n", "no document", "JSON lines"},
    };
    struct world *world = *state;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        put(world, "root0/a.jsonl", cases[i].lines, strlen(cases[i].lines));
        expect_failure(world, "file:a.jsonl", CORPUS_CALIBRATION, -EBADMSG, "dataset_invalid",
                       cases[i].words);
        if (!strstr(world->failure.hint, cases[i].hint))
            fail_msg("'%s' does not say '%s'", world->failure.hint, cases[i].hint);
    }
    put(world, "root0/a.jsonl", "{\"text\":\"a\"}", 12);
    expect_failure(world, "file:a.jsonl#body", CORPUS_EVALUATION, -EBADMSG, "dataset_invalid",
                   "no string 'body', but text");
}

static void put_gz(const struct world *world, const char *name, const void *data, size_t size) {
    cleanup(freep) char *path = place(world, name);
    gzFile file = gzopen(path, "wb");

    assert_non_null(file);
    assert_int_equal(gzwrite(file, data, (unsigned)size), size);
    assert_int_equal(gzclose(file), Z_OK);
}

static void test_gzip(void **state) {
    static const char lines[] = "{\"text\":\"one\"}\n{\"text\":\"two\"}\n";
    static const size_t starts[] = {0, 4, 7};
    cleanup(freep) char *zeros = calloc(1, 32 << 20);
    struct world *world = *state;

    put_gz(world, "root0/a.txt.gz", "caf\xc3\xa9", 5);
    expect_text(world, "file:a.txt.gz", CORPUS_CALIBRATION, "caf\xc3\xa9");
    put_gz(world, "root0/a.txt", "packed", 6); /* its bytes say it as well */
    expect_text(world, "file:a.txt", CORPUS_CALIBRATION, "packed");
    put_gz(world, "root0/empty.gz", "", 0);
    expect_text(world, "file:empty.gz", CORPUS_EVALUATION, "");
    put_gz(world, "root0/a.jsonl.gz", lines, strlen(lines));
    expect_documents(world, "file:a.jsonl.gz", "one two", starts, 2);
    put_gz(world, "root0/a.json.gz", lines, strlen(lines));
    expect_documents(world, "file:a.json.gz#text", "one two", starts, 2);
    put(world, "root0/plain.gz", "not packed", 10); /* and what is not packed is read, too */
    expect_text(world, "file:plain.gz", CORPUS_EVALUATION, "not packed");
    put_gz(world, "root0/latin.gz", "caf\xe9", 4);
    expect_failure(world, "file:latin.gz", CORPUS_EVALUATION, -EBADMSG, "dataset_invalid",
                   "not UTF-8 at byte 3");
    put(world, "root0/cut.gz", "\x1f\x8b\x08\0\0\0\0\0\0\3", 10);
    expect_failure(world, "file:cut.gz", CORPUS_EVALUATION, -EBADMSG, "dataset_invalid", "cut off");
    put_gz(world, "root0/bomb.txt.gz", zeros, 32 << 20);
    expect_failure(world, "file:bomb.txt.gz", CORPUS_EVALUATION, -EBADMSG, "dataset_invalid",
                   "shrank");
}

/* What is no text says what it is, also to a check that reads nothing else of it. */
static void test_formats(void **state) {
    static const struct {
        const char *bytes;
        size_t size;
        const char *words, *hint;
    } cases[] = {
        {"PAR1\x15\x00\x15\xfe..PAR1", 14, "parquet", "JSON lines"},
        {"GGUF\3\0\0\0", 8, "GGUF", "MODEL"},
        {"\x40\0\0\0\0\0\0\0{\"a\":1}", 15, "safetensors", "MODEL"},
        {"PK\3\4\x14\0", 6, "zip", "unpack"},
        {"version https://git-lfs.github.com/spec/v1\noid sha256:", 54, "Git LFS", "git lfs pull"},
        {"\x28\xb5\x2f\xfd\0", 5, "Zstandard", "unpack"},
        {"BZh91AY&SY\0", 11, "bzip2", "unpack"},
        {"\xfd"
         "7zXZ\0",
         6, "xz", "unpack"},
        {"\xff\xfeh\0i\0", 6, "UTF-16", "iconv"},
    };
    struct world *world = *state;
    size_t size;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        put(world, "root0/a.jsonl", cases[i].bytes, cases[i].size);
        put(world, "root0/a.txt", cases[i].bytes, cases[i].size);
        expect_failure(world, "file:a.txt", CORPUS_EVALUATION, -EBADMSG, "dataset_invalid",
                       cases[i].words);
        assert_non_null(strstr(world->failure.hint, cases[i].hint));
        expect_failure(world, "file:a.jsonl#x", CORPUS_EVALUATION, -EBADMSG, "dataset_invalid",
                       cases[i].words);
        world->failure = (struct failure){};
        assert_int_equal(corpus_check(&world->corpora, "file:a.txt", &size, &world->failure),
                         -EBADMSG);
        assert_non_null(strstr(world->failure.detail, cases[i].words));
    }
    put(world, "root0/a.txt", "GGUF and PAR1 begin files.", 26);
    expect_text(world, "file:a.txt", CORPUS_EVALUATION, "GGUF and PAR1 begin files.");
}

static void test_check(void **state) {
    struct world *world = *state;
    size_t size = 0;

    put(world, "root1/a.txt", "xyz", 3);
    assert_int_equal(corpus_check(&world->corpora, "file:a.txt", &size, &world->failure), 0);
    assert_int_equal(size, 3);
    assert_int_equal(corpus_check(&world->corpora, "c4", &size, &world->failure), 0);
    assert_true(size == SIZE_MAX);
    assert_int_equal(corpus_check(&world->corpora, "file:b.txt", &size, &world->failure), -ENOENT);
    assert_string_equal(world->failure.code, "dataset_not_found");
    assert_non_null(strstr(world->failure.detail, "b.txt"));
    assert_non_null(strstr(world->failure.hint, world->roots[1]));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        with_world(test_local),          with_world(test_local_escapes),
        with_world(test_local_kinds),    with_world(test_local_large),
        with_world(test_local_absolute), with_world(test_json_lines),
        with_world(test_bad_json_lines), with_world(test_gzip),
        with_world(test_formats),        with_world(test_check),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
