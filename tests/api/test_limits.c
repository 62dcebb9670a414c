// SPDX-License-Identifier: Apache-2.0
/* What one client may hold of the API, and what becomes of one that goes beyond. */
#include "base/clock.h"
#include "base/macros.h"
#include "visit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define STREAM_OF_JOB_1                                                                            \
    "GET /v1/jobs/1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"

static CURLM *multi;

static bool is_done(void *ctx) {
    return ((struct watcher *)ctx)->done;
}

static bool has_event(void *ctx) {
    return ((struct watcher *)ctx)->n_events > 0;
}

static int n_streams(struct site *site) {
    struct answer answer = visit(site, (struct visit){.path = "/metrics"});
    const char *line = strstr(answer.body.data, "\nquantd_sse_streams ");
    int n;

    assert_non_null(line);
    n = atoi(strchr(line, ' '));
    answer_done(&answer);
    return n;
}

/* Return: are no more than @n streams left, within half a minute? */
static bool wait_for_streams(struct site *site, int n) {
    double end = clock_monotonic() + 30;

    while (n_streams(site) > n && clock_monotonic() < end)
        watch_until(multi, NULL, NULL, 0.05);
    return n_streams(site) == n;
}

/* One owner's streams are refused beyond the limit, another's are not; one that ends makes room. */
static void test_streams_of_one_owner(void **state) {
    struct site *site = site_open_limited((struct api_limits){.owner_streams = 2});
    struct visit visit_events = {.path = "/v1/events", .headers = {"Accept: text/event-stream"}};
    struct watcher first, second, other;
    struct answer answer;
    char after[16];

    (void)state;
    fake_job(site->fake);
    watcher_open(&first, site, multi, "/v1/jobs/1/events", NULL);
    watcher_open(&second, site, multi, "/v1/jobs/1/events", NULL);
    assert_true(watch_until(multi, has_event, &first, 10));
    assert_true(watch_until(multi, has_event, &second, 10));
    answer = visit(site, visit_events);
    assert_int_equal(answer.status, 429);
    assert_non_null(strstr(answer.body.data, "\"too_many_streams\""));
    assert_non_null(strstr(answer.body.data, "'local' has 2 open"));
    assert_true(answer_header(&answer, "Retry-After", after, sizeof(after))[0]);
    answer_done(&answer);
    /* It may still ask, and a client of the unix socket counts apart. */
    answer = visit(site, (struct visit){.path = "/v1/jobs/1"});
    assert_int_equal(answer.status, 200);
    answer_done(&answer);
    visit_events.over_unix = true;
    visit_events.method = "HEAD";
    answer = visit(site, visit_events);
    assert_int_equal(answer.status, 200);
    answer_done(&answer);

    watcher_close(&first, multi);
    /* Nothing is sent to it: its hang-up alone makes room. */
    assert_true(wait_for_streams(site, 1));
    watcher_open(&other, site, multi, "/v1/jobs/1/events", NULL);
    assert_true(watch_until(multi, has_event, &other, 10));
    watcher_close(&second, multi);
    watcher_close(&other, multi);
    site_close(site);
}

/* A stream ends after so many events, in order, and goes on from its last id without a gap. */
static void test_events_of_one_stream(void **state) {
    struct site *site = site_open_limited((struct api_limits){.stream_events = 100});
    uint64_t last = 0;
    int n_streams_read = 0;

    (void)state;
    fake_job(site->fake);
    for (int i = 0; i < 499; i++)
        fake_event(site->fake, 1, "layer.finished", "x");
    while (last < 400) {
        struct watcher watcher;
        char header[48];

        snprintf(header, sizeof(header), "Last-Event-ID: %d", (int)last);
        watcher_open(&watcher, site, multi, "/v1/jobs/1/events", header);
        assert_true(watch_until(multi, is_done, &watcher, 10));
        assert_int_equal(watcher.result, CURLE_OK);
        assert_false(watcher.disorder);
        /* Each gets the job as it is first. What ends it is looked at between chunks of events. */
        assert_in_range(watcher.n_events, 101, 101 + 8);
        assert_int_equal(watcher.last, last + (uint64_t)watcher.n_events - 1);
        last = watcher.last;
        n_streams_read++;
        watcher_close(&watcher, multi);
    }
    assert_in_range(n_streams_read, 3, 4);
    site_close(site);
}

/* Return: does the unix socket answer on @fd? */
static bool is_answered(int fd) {
    static const char request[] = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    char buffer[1024];

    /* Of a connection that was shut down nothing is read, or even sending fails. */
    return send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) > 0 &&
           recv(fd, buffer, sizeof(buffer), 0) > 0;
}

/* Return: does an event stream begin on @fd? */
static bool is_streamed(int fd) {
    char buffer[1024];

    return send(fd, STREAM_OF_JOB_1, strlen(STREAM_OF_JOB_1), MSG_NOSIGNAL) > 0 &&
           recv(fd, buffer, sizeof(buffer), 0) > 0;
}

/* Connections of one user that are in use are closed beyond the limit; one that ends makes room. */
static void test_connections_of_one_user(void **state) {
    struct site *site = site_open_limited((struct api_limits){.user_connections = 3});
    struct answer answer;
    bool answered = false;
    int fds[3];

    (void)state;
    fake_job(site->fake);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        fds[i] = site_connect_unix(site);
        assert_true(is_streamed(fds[i]));
    }
    for (int i = 0; i < 3; i++) {
        int more = site_connect_unix(site);

        assert_false(is_answered(more));
        close(more);
    }
    answer = visit(site, (struct visit){.path = "/healthz"});
    assert_int_equal(answer.status, 200);
    answer_done(&answer);
    close(fds[0]);
    for (double end = clock_monotonic() + 30; !answered && clock_monotonic() < end;) {
        fds[0] = site_connect_unix(site);
        answered = is_answered(fds[0]);
        if (!answered)
            close(fds[0]);
    }
    assert_true(answered);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        close(fds[i]);
    site_close(site);
}

/* One that waits for a request makes room for another of the user: the oldest of them. */
static void test_idle_connections_of_one_user(void **state) {
    struct site *site = site_open_limited((struct api_limits){.user_connections = 3});
    int fds[6];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        fds[i] = site_connect_unix(site);
        assert_true(is_answered(fds[i]));
        usleep(50000); /* its thread sees the end of the answer a moment after its client */
    }
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        if (i < 3)
            assert_false(is_answered(fds[i]));
        close(fds[i]);
    }
    site_close(site);
}

/* What the kernel has kept for a client that has not read. */
static size_t bytes_kept(int fd) {
    static char buffer[1 << 20];
    size_t size = 0;
    ssize_t n;

    while ((n = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT)) > 0)
        size += (size_t)n;
    return size;
}

/*
 * A client that does not read is dropped when it has taken nothing for so long; until then the
 * kernel keeps a bounded number of bytes for it, whatever happens. One that reads, but has nothing
 * to read, stays.
 */
static void test_client_that_never_reads(void **state) {
    struct site *site = site_open_limited((struct api_limits){.idle_seconds = 1});
    struct watcher reader;
    char text[20001];
    int silent;

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    fake_job(site->fake);
    fake_job(site->fake);
    watcher_open(&reader, site, multi, "/v1/jobs/2/events", NULL);
    assert_true(watch_until(multi, has_event, &reader, 10));
    silent = site_connect(site, STREAM_OF_JOB_1);
    for (int i = 0; i < 1000; i++)
        fake_event(site->fake, 1, "layer.finished", text);
    assert_int_equal(n_streams(site), 2);
    assert_true(wait_for_streams(site, 1));
    assert_in_range(bytes_kept(silent), 1, 12 << 20);
    close(silent);
    watch_until(multi, NULL, NULL, 1.5);
    assert_false(reader.done);
    watcher_close(&reader, multi);
    site_close(site);
}

static int open_multi(void **state) {
    (void)state;
    multi = curl_multi_init();
    return 0;
}

static int close_multi(void **state) {
    (void)state;
    curl_multi_cleanup(multi);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_streams_of_one_owner, open_multi, close_multi),
        cmocka_unit_test_setup_teardown(test_events_of_one_stream, open_multi, close_multi),
        cmocka_unit_test_setup_teardown(test_client_that_never_reads, open_multi, close_multi),
        cmocka_unit_test(test_connections_of_one_user),
        cmocka_unit_test(test_idle_connections_of_one_user),
    };

    curl_global_init(CURL_GLOBAL_DEFAULT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
