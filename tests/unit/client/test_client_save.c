// SPDX-License-Identifier: Apache-2.0
/* Downloads and followed jobs, against a server that lies, breaks off and goes away. */
#include "base/cleanup.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/str.h"
#include "client/http/answer.h"
#include "client/job/folder.h"
#include "client/job/follow.h"
#include "client/job/job.h"
#include "client/job/save.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cmocka.h>

#define CONTENT "0123456789abcdef"

/* One thread that answers each connection by one request, as the test's answer() says. */
struct server {
    char dir[64], socket[96], name[112];
    int fd;
    pthread_t thread;
    int (*answer)(struct server *server, const char *request, struct strbuf *out);
    int n_requests;
    char list[2048], range[64], last_id[64];
};

static struct server server;

static void header_of(const char *request, const char *name, char value[64]) {
    const char *at = strcasestr(request, name);

    value[0] = '\0';
    if (at)
        snprintf(value, 64, "%.*s", (int)strcspn(at, "\r\n"), at);
}

static void serve_one(int fd) {
    struct strbuf out = {};
    char request[8192];
    size_t n = 0;

    while (n < sizeof(request) - 1) {
        ssize_t got = read(fd, request + n, sizeof(request) - 1 - n);

        if (got <= 0)
            return;
        n += (size_t)got;
        request[n] = '\0';
        if (strstr(request, "\r\n\r\n"))
            break;
    }
    header_of(request, "Range:", server.range);
    header_of(request, "Last-Event-ID:", server.last_id);
    server.answer(&server, request, &out);
    server.n_requests++;
    if (out.data)
        file_write_all(fd, out.data, out.length);
    strbuf_done(&out);
}

static void *serve(void *arg) {
    (void)arg;
    for (;;) {
        cleanup(closep) int fd = accept(server.fd, NULL, NULL);

        if (fd < 0)
            return NULL;
        serve_one(fd);
    }
}

static void put_answer(struct strbuf *out, int status, const char *type, const char *body) {
    strbuf_printf(out,
                  "HTTP/1.1 %d Status\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
                  "Connection: close\r\n\r\n%s",
                  status, type, strlen(body), body);
}

static int setup(void **state) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    (void)state;
    server = (struct server){.dir = "/tmp/quantctl-test-XXXXXX"};
    assert_non_null(mkdtemp(server.dir));
    snprintf(server.socket, sizeof(server.socket), "%s/socket", server.dir);
    snprintf(server.name, sizeof(server.name), "unix:%s", server.socket);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", server.socket);
    server.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server.fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(server.fd, 8), 0);
    assert_int_equal(pthread_create(&server.thread, NULL, serve, NULL), 0);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    shutdown(server.fd, SHUT_RDWR);
    pthread_join(server.thread, NULL);
    close(server.fd);
    return dir_remove(server.dir);
}

static void client_open(struct client *client) {
    struct failure failure;

    *client = (struct client){};
    assert_int_equal(http_new(server.name, &client->http, &failure), 0);
    client->terminal = (struct terminal){.file = fopen("/dev/null", "w"), .width = 80};
}

static void client_close(struct client *client) {
    http_freep(&client->http);
    fclose(client->terminal.file);
}

/* ---- downloads ---- */

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

/* ---- errors ---- */

static int answer_problem(struct server *s, const char *request, struct strbuf *out) {
    (void)s;
    (void)request;
    put_answer(out, 404, "application/problem+json",
               "{\"code\": \"not_found\", \"detail\": \"unknown job 7\\u001b[2J\","
               " \"hint\": \"look at the list\", \"request_id\": \"r-1\"}");
    return 0;
}

static int reply_text(struct server *s, const char *request, struct strbuf *out) {
    (void)s;
    (void)request;
    put_answer(out, 502, "text/html", "<h1>Bad gateway</h1>");
    return 0;
}

static void test_errors(void **state) {
    struct failure failure = {};
    struct client client;
    json_t *answer = NULL;

    (void)state;
    client_open(&client);
    server.answer = answer_problem;
    assert_int_equal(http_get(client.http, "/v1/jobs/7", &answer, &failure), -EREMOTEIO);
    assert_string_equal(failure.code, "not_found");
    assert_string_equal(failure.detail, "unknown job 7?[2J (not_found)");
    assert_string_equal(failure.hint, "look at the list");
    assert_false(http_is_transient(client.http, -EREMOTEIO));

    server.answer = reply_text;
    assert_int_equal(http_get(client.http, "/", &answer, &failure), -EREMOTEIO);
    assert_true(http_is_transient(client.http, -EREMOTEIO));
    client_close(&client);

    assert_int_equal(unlink(server.socket), 0);
    client_open(&client);
    assert_int_equal(http_get(client.http, "/", &answer, &failure), -ECOMM);
    assert_string_equal(failure.code, "daemon_unreachable");
    assert_non_null(strstr(failure.detail, "No such file"));
    client_close(&client);
}

static void test_names(void **state) {
    static const char *const wrong[] = {"ftp://x", "unix:relative", "/run/sock", "", "unix:"};
    static const char *const right[] = {"http://h:1/", "h:1", "https://h/prefix", "unix:/run/x"};
    struct failure failure;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        struct http *http = NULL;

        assert_int_equal(http_new(wrong[i], &http, &failure), -EINVAL);
    }
    for (size_t i = 0; i < ARRAY_SIZE(right); i++) {
        cleanup(http_freep) struct http *http = NULL;

        assert_int_equal(http_new(right[i], &http, &failure), 0);
        assert_string_equal(http_server(http), right[i]);
    }
}

/* ---- following ---- */

#define STREAM "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
#define EVENT(id, type, data) "id: " id "\nevent: " type "\ndata: {\"data\": " data "}\n\n"

/* The first stream breaks after event 4, the second one ends the job. */
static int answer_stream(struct server *s, const char *request, struct strbuf *out) {
    if (!strstr(request, "/events")) {
        put_answer(out, 200, "application/json",
                   s->last_id[0] || s->n_requests > 2 ? "{\"id\": 1, \"status\": \"succeeded\"}"
                                                      : "{\"id\": 1, \"status\": \"running\"}");
    } else if (!s->last_id[0]) {
        strbuf_puts(out, STREAM
                    ": hello\n\nevent: job\ndata: {\"id\": 1, \"status\": "
                    "\"queued\"}\n\n" EVENT("3", "job.started", "{\"attempt\": 1}") EVENT(
                        "4", "layer.finished",
                        "{\"layer\": 0, \"matrices\": []}") "event: progress\ndata: {\"data\": "
                                                            "{\"phase\": \"quantize\", "
                                                            "\"fraction\": 0.5}}\n\ndata: cut");
    } else {
        strbuf_puts(out, STREAM "event: nonsense\ndata: \n\ndata: [1]\n\nevent: progress\ndata: "
                                "{\"data\": 5}\n\n" EVENT("5", "job.succeeded", "{}"));
    }
    return 0;
}

static int answer_endless_line(struct server *s, const char *request, struct strbuf *out) {
    (void)s;
    (void)request;
    strbuf_puts(out, STREAM "data: ");
    for (int i = 0; i < 2000; i++)
        strbuf_printf(out, "%01024d", 0);
    return 0;
}

static void test_follow(void **state) {
    json_t *job = json_loads("{\"id\": 1, \"status\": \"queued\"}", 0, NULL);
    struct failure failure = {};
    struct client client;

    (void)state;
    client_open(&client);
    server.answer = answer_stream;
    assert_int_equal(follow_job(&client, &job, &failure), 0);
    assert_true(job_has_ended(job));
    assert_int_equal(server.n_requests, 4);

    server.answer = answer_endless_line;
    json_object_set_new(job, "status", json_string("queued"));
    assert_int_equal(follow_job(&client, &job, &failure), -EMSGSIZE);
    json_decref(job);
    client_close(&client);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_fetch, setup, teardown),
        cmocka_unit_test_setup_teardown(test_resume, setup, teardown),
        cmocka_unit_test_setup_teardown(test_broken_download, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_check, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_follow, setup, teardown),
        cmocka_unit_test(test_names),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
