// SPDX-License-Identifier: Apache-2.0
/* Clients that send slowly: each has a deadline, and all of them leave others their answers. */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/macros.h"
#include "visit.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define SECONDS 1 /* that a request may take to come */
#define HEAD "GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
#define POST                                                                                       \
    "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"              \
    "Content-Length: 20480\r\n\r\n"
#define CROWD 1100
#define PATIENCE 100.0 /* seconds for what takes a moment on a machine that is not busy */
#define REQUESTS 300

static struct site *open_site(void) {
    struct site *site = site_open_limited((struct api_limits){.request_seconds = SECONDS});

    fake_job(site->fake);
    return site;
}

static int open_connection(struct site *site, bool over_unix) {
    return over_unix ? site_connect_unix(site) : site_connect(site, "");
}

/* Seconds until the connection is closed, on which @start and then a byte now and then is sent. */
static double trickle(struct site *site, bool over_unix, const char *start) {
    cleanup(closep) int fd = open_connection(site, over_unix);
    double begin = clock_monotonic();
    bool closed = false;

    site_send(fd, start, strlen(start));
    while (!closed && clock_monotonic() - begin < PATIENCE) {
        free(site_hear(fd, 0.1, &closed));
        site_send(fd, "x", 1);
    }
    return clock_monotonic() - begin;
}

static void test_deadlines(void **state) {
    static const char *const starts[] = {"", HEAD, HEAD "X-A: ", POST "{"};
    struct site *site = open_site();

    (void)state;
    for (size_t i = 0; i < 2 * ARRAY_SIZE(starts); i++) {
        double seconds = trickle(site, i % 2, starts[i / 2]);

        if (!(seconds >= SECONDS - 0.01 && seconds < PATIENCE))
            fail_msg("'%s' and a trickle hold a connection for %g s", starts[i / 2], seconds);
    }
    site_close(site);
}

/* A connection that was answered may wait as long for its next request. */
static void test_idle(void **state) {
    struct site *site = open_site();

    (void)state;
    for (int i = 0; i < 2; i++) {
        cleanup(closep) int fd = open_connection(site, i);
        bool closed = false;

        for (int round = 0; round < 4; round++) {
            cleanup(freep) char *answer = NULL;

            site_send(fd, HEAD "\r\n", strlen(HEAD "\r\n"));
            answer = site_hear(fd, SECONDS * 0.5, &closed);
            assert_int_equal(strncmp(answer, "HTTP/1.1 200 ", 13), 0);
            assert_false(closed);
        }
        free(site_hear(fd, PATIENCE, &closed));
        assert_true(closed);
    }
    site_close(site);
}

/* A long body that comes steadily has the time that it needs: 20 KiB at 8 KiB a second. */
static void test_steady_body(void **state) {
    struct site *site = open_site();
    cleanup(freep) char *answer = NULL;
    cleanup(closep) int fd = -1;
    bool closed = false;
    char spaces[1024];
    double begin;

    (void)state;
    fd = site_connect(site, POST);
    memset(spaces, ' ', sizeof(spaces));
    begin = clock_monotonic();
    for (int i = 1; i <= 20; i++) {
        double wait = begin + 0.125 * i - clock_monotonic();

        usleep((useconds_t)(MAX(wait, 0) * 1e6));
        site_send(fd, spaces, sizeof(spaces));
    }
    answer = site_hear(fd, PATIENCE, &closed);
    assert_int_equal(strncmp(answer, "HTTP/1.1 400 ", 13), 0); /* spaces are no JSON */
    site_close(site);
}

/* -------- a crowd of them -------- */

struct crowd {
    struct site *site;
    bool over_unix;
    atomic_bool stop;
    atomic_int n_closed;
};

/* Keeps CROWD connections open, each of which sends a byte now and then. */
static void *run_crowd(void *arg) {
    struct crowd *crowd = arg;
    int fds[CROWD];

    for (int i = 0; i < CROWD; i++)
        fds[i] = -1;
    for (int i = 0; !crowd->stop; i = (i + 1) % CROWD) {
        if (fds[i] >= 0 && send(fds[i], "x", 1, MSG_NOSIGNAL) < 0 && errno != EAGAIN) {
            close(fds[i]);
            fds[i] = -1;
            crowd->n_closed++;
        }
        if (fds[i] < 0) {
            fds[i] = open_connection(crowd->site, crowd->over_unix);
            site_send(fds[i], HEAD "X-A: ", strlen(HEAD "X-A: "));
        }
        usleep(200);
    }
    for (int i = 0; i < CROWD; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    return NULL;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static struct answer get_job(const struct crowd *crowd) {
    return visit(crowd->site, (struct visit){.path = "/v1/jobs/1", .over_unix = crowd->over_unix});
}

/* GETs until @n_closed of the crowd were closed. Return: their 99th percentile in seconds. */
static double ask_meanwhile(struct crowd *crowd, int n_closed) {
    static double seconds[100000];
    double end = clock_monotonic() + PATIENCE;
    size_t n = 0;

    while ((n < REQUESTS || crowd->n_closed < n_closed) && clock_monotonic() < end &&
           n < ARRAY_SIZE(seconds)) {
        double begin = clock_monotonic();
        struct answer answer = get_job(crowd);

        /* The queue of a unix socket is full for a moment, and then refuses a connection. */
        while (answer.status == 0 && crowd->over_unix && clock_monotonic() < end) {
            answer_done(&answer);
            answer = get_job(crowd);
        }
        assert_int_equal(answer.status, 200);
        answer_done(&answer);
        seconds[n++] = clock_monotonic() - begin;
        usleep(5000);
    }
    qsort(seconds, n, sizeof(seconds[0]), compare);
    printf("%s, %d closed: %zu requests, median %.1f ms, 99 %% %.1f ms, slowest %.1f ms\n",
           crowd->over_unix ? "unix" : "TCP", crowd->n_closed, n, seconds[n / 2] * 1e3,
           seconds[n * 99 / 100] * 1e3, seconds[n - 1] * 1e3);
    return seconds[n * 99 / 100];
}

static void test_crowd(void **state) {
    struct rlimit files;
    struct site *site;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_cur < 4 * CROWD)
        skip();
    site = open_site();
    for (int i = 0; i < 2; i++) {
        struct crowd crowd = {.site = site, .over_unix = i};
        pthread_t thread;
        double alone = ask_meanwhile(&crowd, 0), beside;

        assert_int_equal(pthread_create(&thread, NULL, run_crowd, &crowd), 0);
        beside = ask_meanwhile(&crowd, CROWD / 2);
        crowd.stop = true;
        pthread_join(thread, NULL);
        assert_true(crowd.n_closed >= CROWD / 2);
        assert_true(beside < 0.05 + 10 * alone); /* the machine may be busy */
    }
    site_close(site);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deadlines),
        cmocka_unit_test(test_idle),
        cmocka_unit_test(test_steady_body),
        cmocka_unit_test(test_crowd),
    };

    curl_global_init(CURL_GLOBAL_DEFAULT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
