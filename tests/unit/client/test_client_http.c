// SPDX-License-Identifier: Apache-2.0
/* Requests, errors and followed jobs, with a server that lies, breaks off and goes away. */
#include "client/job/follow.h"
#include "client/job/job.h"
#include "tests/unit/client/http_fixture.h"

#include <errno.h>
#include <signal.h>

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
        cmocka_unit_test_setup_teardown(test_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_follow, setup, teardown),
        cmocka_unit_test(test_names),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
