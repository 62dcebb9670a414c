// SPDX-License-Identifier: Apache-2.0
/* Event streams: what they carry, resuming, many clients, slow clients, the end. */
#include "api/stream/fanout.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/macros.h"
#include "visit.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define N_CLIENTS 200
#define N_JOBS 8
#define N_WAKERS 4
#define N_ROUNDS 50

static CURLM *multi;

static int open_site(void **state) {
    *state = site_open();
    multi = curl_multi_init();
    return 0;
}

static int close_site(void **state) {
    site_close(*state);
    curl_multi_cleanup(multi);
    return 0;
}

static bool is_done(void *ctx) {
    return ((struct watcher *)ctx)->done;
}

static bool has_event(void *ctx) {
    return ((struct watcher *)ctx)->n_events > 0;
}

static bool has_started(void *ctx) {
    return ((struct watcher *)ctx)->parser.retry_ms > 0;
}

/* Watches @path to its end. */
static void check_stream(struct site *site, const char *path, const char *header,
                         const char *expected) {
    struct watcher watcher;

    watcher_open(&watcher, site, multi, path, header);
    assert_true(watch_until(multi, is_done, &watcher, 10));
    assert_int_equal(watcher.result, CURLE_OK);
    assert_int_equal(watcher.status, 200);
    assert_int_equal(watcher.parser.retry_ms, 2000);
    assert_string_equal(watcher.seen.data, expected);
    watcher_close(&watcher, multi);
}

static void test_one_job(void **state) {
    struct site *site = *state;
    struct answer answer;
    int64_t job = fake_job(site->fake);

    fake_event(site->fake, job, "layer.finished", "two\nlines");
    fake_event(site->fake, fake_job(site->fake), "layer.finished", "of another");
    fake_end(site->fake, job);
    check_stream(site, "/v1/jobs/1/events", NULL,
                 "job# job.queued#1 layer.finished#2 job.succeeded#5 ");
    /* Some clients take a block of retry alone for an event. */
    answer = visit(site, (struct visit){.path = "/v1/jobs/1/events",
                                        .headers = {"Accept: text/event-stream"}});
    assert_int_equal(strncmp(answer.body.data, "retry: 2000\nevent: job\n", 23), 0);
    answer_done(&answer);
    check_stream(site, "/v1/jobs/1/events?after=1", NULL, "job# layer.finished#2 job.succeeded#5 ");
    check_stream(site, "/v1/jobs/1/events", "Last-Event-ID: 2", "job# job.succeeded#5 ");
    /* At its end the job is given once more, with an id: an EventSource that comes back is told to
     * stay away. */
    check_stream(site, "/v1/jobs/1/events?after=5", NULL, "job#5 ");
    answer =
        visit(site, (struct visit){.path = "/v1/jobs/1/events?after=0",
                                   .headers = {"Accept: text/event-stream", "Last-Event-ID: 5"}});
    assert_int_equal(answer.status, 204);
    assert_int_equal(answer.body.length, 0);
    answer_done(&answer);
    check_stream(site, "/v1/jobs/1/events?after=99", NULL,
                 "reset# job# job.queued#1 layer.finished#2 job.succeeded#5 ");
}

/* Rows of many chunks, the job alive at first. */
static void test_long_replay(void **state) {
    struct site *site = *state;
    int64_t job = fake_job(site->fake);
    struct watcher watcher;

    for (int i = 0; i < 500; i++)
        fake_event(site->fake, job, "layer.finished", "x");
    watcher_open(&watcher, site, multi, "/v1/jobs/1/events", NULL);
    watch_until(multi, has_event, &watcher, 10);
    fake_end(site->fake, job);
    assert_true(watch_until(multi, is_done, &watcher, 10));
    assert_int_equal(watcher.result, CURLE_OK);
    assert_int_equal(watcher.n_events, 503);
    assert_int_equal(watcher.last, 502);
    assert_false(watcher.disorder);
    watcher_close(&watcher, multi);
}

static void test_all_jobs(void **state) {
    struct site *site = *state;
    int64_t job = fake_job(site->fake);
    struct watcher now, all;

    watcher_open(&now, site, multi, "/v1/events", NULL);
    watcher_open(&all, site, multi, "/v1/events?after=0", NULL);
    assert_true(watch_until(multi, has_started, &now, 10));
    assert_true(watch_until(multi, has_event, &all, 10));
    assert_true(watch_until(multi, has_event, &now, 10));
    assert_string_equal(now.parser.id, "1");
    fake_event(site->fake, job, "phase.started", "x");
    fake_end(site->fake, job);
    watch_until(multi, NULL, NULL, 0.5);
    assert_string_equal(now.seen.data, "start#1 phase.started#2 job.succeeded#3 ");
    assert_string_equal(all.seen.data, "start# job.queued#1 phase.started#2 job.succeeded#3 ");
    assert_false(now.done);
    watcher_close(&now, multi);
    watcher_close(&all, multi);
}

/* Changes that are no rows come through, but no more than four a second. */
static void test_progress(void **state) {
    struct site *site = *state;
    int64_t job = fake_job(site->fake);
    struct watcher watcher, other;
    double begin;
    int n;

    fake_job(site->fake);
    watcher_open(&watcher, site, multi, "/v1/jobs/1/events", NULL);
    watcher_open(&other, site, multi, "/v1/jobs/2/events", NULL);
    watch_until(multi, has_event, &watcher, 10);
    begin = clock_monotonic();
    for (int i = 1; i <= 100; i++) {
        fake_progress(site->fake, job, i);
        watch_until(multi, NULL, NULL, 0.01);
    }
    watch_until(multi, NULL, NULL, 0.6);
    n = (int)((clock_monotonic() - begin) * 4) + 2;
    assert_in_range(watcher.n_progress, 2, n);
    assert_int_equal(watcher.parser.id[0] - '0', 1);
    assert_int_equal(other.n_progress, 0);
    watcher_close(&watcher, multi);
    watcher_close(&other, multi);
}

/* A store that fails ends the stream, for the client to come back to. */
static void test_broken_store(void **state) {
    struct site *site = *state;
    struct watcher watcher;
    int64_t job = fake_job(site->fake);

    watcher_open(&watcher, site, multi, "/v1/jobs/1/events", NULL);
    watch_until(multi, has_event, &watcher, 10);
    site->fake->events_error = -EIO;
    fake_event(site->fake, job, "layer.finished", "x");
    assert_true(watch_until(multi, is_done, &watcher, 10));
    assert_int_equal(watcher.result, CURLE_OK);
    site->fake->events_error = 0;
    watcher_close(&watcher, multi);
}

struct storm {
    struct fake *fake;
    atomic_bool stop;
    pthread_t threads[N_WAKERS + 1];
    struct watcher watchers[N_CLIENTS];
};

static void *wake_on(void *arg) {
    struct storm *storm = arg;

    while (!storm->stop) {
        fake_wake(storm->fake);
        sched_yield();
    }
    return NULL;
}

static void *produce(void *arg) {
    struct storm *storm = arg;

    for (int i = 0; i < N_ROUNDS * N_JOBS; i++) {
        fake_event(storm->fake, 1 + i % N_JOBS, "layer.finished", "a layer");
        fake_progress(storm->fake, 1 + i % N_JOBS, i);
        usleep(2000);
    }
    for (int64_t job = 1; job <= N_JOBS; job++)
        fake_end(storm->fake, job);
    return NULL;
}

static bool all_done(void *ctx) {
    struct storm *storm = ctx;

    for (int i = 0; i < N_CLIENTS; i++)
        if (!storm->watchers[i].done)
            return false;
    return true;
}

/* Every client gets each row of its job once and in order, whatever races there are. */
static void test_storm(void **state) {
    struct site *site = *state;
    cleanup(freep) struct storm *storm = calloc(1, sizeof(*storm));
    char path[64];

    storm->fake = site->fake;
    for (int i = 0; i < N_JOBS; i++)
        fake_job(site->fake);
    for (int i = 0; i < N_CLIENTS; i++) {
        snprintf(path, sizeof(path), "/v1/jobs/%d/events", 1 + i % N_JOBS);
        watcher_open(&storm->watchers[i], site, multi, path, NULL);
    }
    for (int i = 0; i < N_WAKERS; i++)
        pthread_create(&storm->threads[i], NULL, wake_on, storm);
    pthread_create(&storm->threads[N_WAKERS], NULL, produce, storm);
    assert_true(watch_until(multi, all_done, storm, 60));
    storm->stop = true;
    for (int i = 0; i <= N_WAKERS; i++)
        pthread_join(storm->threads[i], NULL);
    for (int i = 0; i < N_CLIENTS; i++) {
        struct watcher *watcher = &storm->watchers[i];

        assert_int_equal(watcher->result, CURLE_OK);
        assert_false(watcher->disorder);
        /* The snapshot, job.queued, the layers, job.succeeded. */
        assert_int_equal(watcher->n_events - watcher->n_progress, N_ROUNDS + 3);
        watcher_close(watcher, multi);
    }
}

/* A client that asks for a stream and does not read it delays no other, and not the end. */
static void test_client_that_never_reads(void **state) {
    struct site *site = *state;
    int64_t job = fake_job(site->fake);
    cleanup(freep) char *text = malloc(20001);
    int silent[8];
    struct watcher watcher;

    memset(text, 'x', 20000);
    text[20000] = '\0';
    for (size_t i = 0; i < ARRAY_SIZE(silent); i++)
        silent[i] = site_connect(site, "GET /v1/jobs/1/events HTTP/1.1\r\nHost: localhost\r\n"
                                       "Accept: text/event-stream\r\n\r\n");
    for (int i = 0; i < 1000; i++)
        fake_event(site->fake, job, "layer.finished", text);
    watcher_open(&watcher, site, multi, "/v1/jobs/1/events", NULL);
    fake_end(site->fake, job);
    assert_true(watch_until(multi, is_done, &watcher, 30));
    assert_int_equal(watcher.n_events - watcher.n_progress, 1003);
    watcher_close(&watcher, multi);
    site_close(site);
    *state = site_open();
    for (size_t i = 0; i < ARRAY_SIZE(silent); i++)
        close(silent[i]);
}

static void *stop_api(void *arg) {
    api_stop(arg);
    return NULL;
}

/* Stopping with streams that wait: the process lives, and each client sees a proper end. */
static void test_stop(void **state) {
    struct site *site = *state;
    struct watcher watchers[20];
    pthread_t thread;
    int n_done = 0;
    double begin;

    fake_job(site->fake);
    for (size_t i = 0; i < ARRAY_SIZE(watchers); i++)
        watcher_open(&watchers[i], site, multi, i % 2 ? "/v1/events" : "/v1/jobs/1/events", NULL);
    for (size_t i = 0; i < ARRAY_SIZE(watchers); i++)
        assert_true(watch_until(multi, has_started, &watchers[i], 10));
    begin = clock_monotonic();
    pthread_create(&thread, NULL, stop_api, site->api);
    for (size_t i = 0; i < ARRAY_SIZE(watchers); i++) {
        n_done += watch_until(multi, is_done, &watchers[i], 10);
        assert_int_equal(watchers[i].result, CURLE_OK);
        watcher_close(&watchers[i], multi);
    }
    pthread_join(thread, NULL);
    assert_int_equal(n_done, ARRAY_SIZE(watchers));
    assert_true(clock_monotonic() - begin < 1.5);
    site->api = NULL;
}

/* Clients that come and go while there is something for them. */
static void test_clients_that_leave(void **state) {
    struct site *site = *state;
    int64_t job = fake_job(site->fake);

    for (int round = 0; round < 50; round++) {
        int fds[10];

        for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
            fds[i] = site_connect(site, "GET /v1/jobs/1/events HTTP/1.1\r\nHost: localhost\r\n"
                                        "Accept: text/event-stream\r\n\r\n");
        fake_event(site->fake, job, "layer.finished", "x");
        for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
            close(fds[i]);
        fake_event(site->fake, job, "layer.finished", "x");
    }
}

static void test_head(void **state) {
    struct site *site = *state;
    struct answer answer;
    char type[64];

    fake_job(site->fake);
    answer = visit(site, (struct visit){.path = "/v1/jobs/1/events",
                                        .method = "HEAD",
                                        .headers = {"Accept: text/event-stream"}});
    assert_int_equal(answer.result, CURLE_OK);
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer_header(&answer, "Content-Type", type, sizeof(type)),
                        "text/event-stream");
    assert_string_equal(answer_header(&answer, "X-Accel-Buffering", type, sizeof(type)), "no");
    assert_string_equal(answer_header(&answer, "Cache-Control", type, sizeof(type)), "no-cache");
    answer_done(&answer);
}

static void test_too_many(void **state) {
    struct rlimit limit;
    int fds[FANOUT_STREAMS_MAX], n_refused = 0;
    struct site *site;
    struct answer answer;
    char after[16];

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = MIN(limit.rlim_max, 8192);
    if (limit.rlim_cur < 4096 || setrlimit(RLIMIT_NOFILE, &limit)) {
        print_message("needs 4096 open files\n");
        skip();
    }
    site_close(*state);
    *state = site = site_open();
    fake_job(site->fake);
    for (int i = 0; i < FANOUT_STREAMS_MAX; i++)
        fds[i] = site_connect(site, "GET /v1/events HTTP/1.1\r\nHost: localhost\r\n"
                                    "Accept: text/event-stream\r\n\r\n");
    for (int i = 0; i < FANOUT_STREAMS_MAX; i++) {
        char buffer[16] = "";

        assert_true(recv(fds[i], buffer, sizeof(buffer) - 1, 0) > 12);
        n_refused += strstr(buffer, " 200 ") == NULL;
    }
    assert_int_equal(n_refused, 0);
    answer =
        visit(site, (struct visit){.path = "/v1/events", .headers = {"Accept: text/event-stream"}});
    assert_int_equal(answer.status, 503);
    assert_non_null(strstr(answer.body.data, "too_many_streams"));
    assert_true(answer_header(&answer, "Retry-After", after, sizeof(after))[0]);
    answer_done(&answer);
    answer = visit(site, (struct visit){.path = "/v1/jobs/1"});
    assert_int_equal(answer.status, 200);
    answer_done(&answer);
    for (int i = 0; i < FANOUT_STREAMS_MAX; i++)
        close(fds[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_one_job, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_long_replay, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_all_jobs, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_progress, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_broken_store, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_storm, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_client_that_never_reads, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_stop, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_clients_that_leave, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_head, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_too_many, open_site, close_site),
    };

    curl_global_init(CURL_GLOBAL_DEFAULT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
