// SPDX-License-Identifier: Apache-2.0
/* Downloads from a server that lies, breaks off and goes away, into folders that others change. */
#include "base/hash.h"
#include "client/http/answer.h"
#include "client/save/folder.h"
#include "client/save/save.h"
#include "tests/unit/client/http_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#define CONTENT "0123456789abcdef"

static int answer_files(struct server *s, const char *request, struct strbuf *out) {
    unsigned long offset = 0;

    if (strstr(request, "/artifacts HTTP")) {
        put_answer(out, 200, "application/json", s->list);
    } else if (sscanf(s->range, "Range: bytes=%lu-", &offset) == 1 && offset <= strlen(CONTENT)) {
        put_answer(out, 206, "application/octet-stream", &CONTENT[offset]);
    } else {
        put_answer(out, 200, "application/octet-stream", CONTENT);
    }
    return 0;
}

/* The first answer breaks off after 5 bytes. */
static int answer_broken(struct server *s, const char *request, struct strbuf *out) {
    int r = answer_files(s, request, out);

    if (s->n_requests == 1)
        out->length -= strlen(CONTENT) - 5;
    return r;
}

static int answer_whole(struct server *s, const char *request, struct strbuf *out) {
    s->range[0] = '\0';
    return answer_files(s, request, out);
}

static int answer_more(struct server *s, const char *request, struct strbuf *out) {
    if (strstr(request, "/artifacts HTTP"))
        return answer_files(s, request, out);
    put_answer(out, 200, "application/octet-stream", CONTENT CONTENT);
    return 0;
}

static void list_one(const char *name, const char *sha256) {
    char digest[SHA256_TEXT_SIZE];

    assert_int_equal(sha256_of(CONTENT, strlen(CONTENT), digest), 0);
    snprintf(server.list, sizeof(server.list),
             "{\"data\": [{\"name\": \"%s\", \"bytes\": %zu, \"sha256\": \"%s\"}]}", name,
             strlen(CONTENT), sha256 ? sha256 : digest);
}

static char *path_of(const char *name) {
    return str_format("%s/out/%s", server.dir, name);
}

static int fetch(bool force, struct failure *failure) {
    cleanup(freep) char *dir = str_format("%s/out", server.dir);
    struct client client;
    int r;

    client_open(&client);
    r = save_job(&client, 1, dir, force, failure);
    client_close(&client);
    return r;
}

static void expect_file(const char *name, const char *content) {
    cleanup(freep) char *path = path_of(name), *data = NULL;
    size_t size;

    assert_int_equal(file_read(path, 1000, &data, &size), 0);
    assert_string_equal(data, content);
}

static void put_file(const char *name, const char *content) {
    cleanup(freep) char *path = path_of(name);

    assert_int_equal(file_replace(path, content, strlen(content)), 0);
}

/* Where "a.bin" with CONTENT arrives. */
static char *part_name(void) {
    char digest[SHA256_TEXT_SIZE];

    assert_int_equal(sha256_of(CONTENT, strlen(CONTENT), digest), 0);
    return str_format(".part/a.bin.%.16s", digest);
}

static void put_part(const char *content) {
    cleanup(freep) char *name = part_name();

    put_file(name, content);
}

static void make_folders(void) {
    cleanup(freep) char *part = path_of(".part");

    assert_int_equal(dir_make(part), 0);
}

static void test_fetch(void **state) {
    cleanup(freep) char *part = path_of(".part");
    struct failure failure = {};

    (void)state;
    server.answer = answer_files;
    list_one("a.bin", NULL);
    assert_int_equal(fetch(false, &failure), 0);
    expect_file("a.bin", CONTENT);
    assert_int_equal(access(part, F_OK), -1);

    /* again: nothing to do but ask */
    server.n_requests = 0;
    assert_int_equal(fetch(false, &failure), 0);
    assert_int_equal(server.n_requests, 1);

    /* another file is in the way */
    put_file("a.bin", "mine");
    assert_int_equal(fetch(false, &failure), -EEXIST);
    expect_file("a.bin", "mine");
    assert_int_equal(fetch(true, &failure), 0);
    expect_file("a.bin", CONTENT);
}

static void test_resume(void **state) {
    struct failure failure = {};

    (void)state;
    list_one("a.bin", NULL);
    /* a part of an earlier try */
    server.answer = answer_files;
    make_folders();
    put_part("01234567");
    assert_int_equal(fetch(false, &failure), 0);
    assert_string_equal(server.range, "Range: bytes=8-");
    expect_file("a.bin", CONTENT);

    /* a part of something else: seen by its hash, loaded anew */
    make_folders();
    put_file("a.bin", "old");
    put_part("xxxx");
    assert_int_equal(fetch(true, &failure), 0);
    expect_file("a.bin", CONTENT);

    /* one that is too long, and a server without ranges */
    server.answer = answer_whole;
    make_folders();
    put_file("a.bin", "old");
    put_part(CONTENT CONTENT);
    assert_int_equal(fetch(true, &failure), 0);
    make_folders();
    put_file("a.bin", "old");
    put_part("0123");
    assert_int_equal(fetch(true, &failure), 0);
    expect_file("a.bin", CONTENT);
}

static void test_broken_download(void **state) {
    struct failure failure = {};

    (void)state;
    list_one("a.bin", NULL);
    server.answer = answer_broken;
    assert_int_equal(fetch(false, &failure), 0);
    assert_string_equal(server.range, "Range: bytes=5-");
    expect_file("a.bin", CONTENT);
}

static void test_lies(void **state) {
    static const char *const names[] = {"../a", "/etc/passwd", ".hidden", "a/b", "", "a\\u001b[0m"};
    char zeros[65] = "";
    struct failure failure = {};
    cleanup(freep) char *path = path_of("a.bin");

    (void)state;
    server.answer = answer_files;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        list_one(names[i], NULL);
        assert_int_equal(fetch(false, &failure), -EPROTO);
        assert_string_equal(failure.code, "unsafe_name");
    }
    list_one("a.bin", "0123");
    assert_int_equal(fetch(false, &failure), -EPROTO);
    memset(zeros, '0', 64);
    list_one("a.bin", zeros);
    assert_int_equal(fetch(false, &failure), -EPROTO);
    assert_string_equal(failure.code, "hash_mismatch");
    list_one("a.bin", NULL);
    server.answer = answer_more;
    assert_int_equal(fetch(false, &failure), -EPROTO);
    assert_int_equal(access(path, F_OK), -1);

    server.answer = answer_files;
    snprintf(server.list, sizeof(server.list),
             "{\"data\": [{\"name\": \"a\", \"bytes\": 1, "
             "\"sha256\": \"%s\"}, {\"name\": \"a\", \"bytes\": "
             "1, \"sha256\": \"%s\"}]}",
             zeros, zeros);
    assert_int_equal(fetch(false, &failure), -EPROTO);
    snprintf(server.list, sizeof(server.list),
             "{\"data\": [{\"name\": \"a\", \"bytes\": "
             "9223372036854775807, \"sha256\": \"%s\"}]}",
             zeros);
    assert_int_equal(fetch(false, &failure), -ENOSPC);
    snprintf(server.list, sizeof(server.list), "[]");
    assert_int_equal(fetch(false, &failure), -ENOENT);
    snprintf(server.list, sizeof(server.list), "{\"data\"");
    assert_int_equal(fetch(false, &failure), -EPROTO);
}

static void test_check(void **state) {
    cleanup(freep) char *dir = str_format("%s/out", server.dir);
    struct failure failure = {};

    (void)state;
    assert_int_equal(folder_check("", false, &failure), -EINVAL);
    assert_int_equal(folder_check(dir, false, &failure), 0);
    assert_int_equal(access(dir, F_OK), -1);
    assert_int_equal(folder_check("not/there/yet", false, &failure), 0);
    make_folders();
    assert_int_equal(folder_check(dir, false, &failure), 0);
    put_file("a", "x");
    assert_int_equal(folder_check(dir, false, &failure), -EEXIST);
    assert_int_equal(folder_check(dir, true, &failure), 0);
}

/* The folder of a job with one file, which has arrived. */
static void open_arrived(struct folder *folder, const char *dir, json_t **files) {
    cleanup(closep) int fd = -1;
    cleanup(freep) char *part = NULL;
    struct failure failure = {};

    list_one("a.bin", NULL);
    *files = json_loads(server.list, 0, NULL);
    assert_int_equal(folder_open(dir, json_object_get(*files, "data"), folder, &failure), 0);
    put_part(CONTENT);
    part = folder_part(folder, 0);
    fd = open(part, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(folder_arrived(folder, 0, fd, &failure), 0);
}

/* Another program writes into the folder while it is filled. */
static void test_disturbed(void **state) {
    static const char *const names[] = {"a.bin", "model.safetensors"};
    cleanup(freep) char *dir = str_format("%s/out", server.dir);
    struct failure failure = {};
    struct folder folder, second;
    json_t *files;

    (void)state;
    open_arrived(&folder, dir, &files);
    assert_int_equal(folder_open(dir, json_object_get(files, "data"), &second, &failure), -EBUSY);
    assert_string_equal(failure.code, "folder_busy");
    assert_int_equal(folder_publish(&folder, &failure), 0);
    expect_file("a.bin", CONTENT);
    folder_close(&folder);
    json_decref(files);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        assert_int_equal(dir_remove(dir), 0);
        open_arrived(&folder, dir, &files);
        if (i == 0)
            put_part("not what arrived");
        else
            put_file(names[i], "foreign");
        assert_int_equal(folder_publish(&folder, &failure), -EIO);
        assert_string_equal(failure.code, "folder_changed");
        assert_non_null(strstr(failure.detail, names[i]));
        folder_close(&folder);
        json_decref(files);
    }
}

static void test_foreign(void **state) {
    static const char *const foreign[] = {"model.safetensors", "model-00009-of-00009.safetensors",
                                          "pytorch_model.bin", "adapter_config.json"};
    static const char *const harmless[] = {"README.md", "notes.txt", "results.json"};
    struct failure failure = {};

    (void)state;
    server.answer = answer_files;
    list_one("a.bin", NULL);
    make_folders();
    for (size_t i = 0; i < ARRAY_SIZE(harmless); i++)
        put_file(harmless[i], "mine");
    for (size_t i = 0; i < ARRAY_SIZE(foreign); i++) {
        cleanup(freep) char *path = path_of(foreign[i]);

        put_file(foreign[i], "old");
        assert_int_equal(fetch(false, &failure), -EEXIST);
        assert_string_equal(failure.code, "foreign_file");
        assert_non_null(strstr(failure.detail, foreign[i]));
        expect_file(foreign[i], "old");
        assert_int_equal(fetch(true, &failure), 0);
        assert_int_equal(access(path, F_OK), -1);
        expect_file("a.bin", CONTENT);
    }
    for (size_t i = 0; i < ARRAY_SIZE(harmless); i++)
        expect_file(harmless[i], "mine");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_fetch, setup, teardown),
        cmocka_unit_test_setup_teardown(test_resume, setup, teardown),
        cmocka_unit_test_setup_teardown(test_broken_download, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_check, setup, teardown),
        cmocka_unit_test_setup_teardown(test_disturbed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_foreign, setup, teardown),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
