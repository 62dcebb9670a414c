// SPDX-License-Identifier: Apache-2.0
/* Authorization headers that hold no token, streams of revoked tokens, open addresses. */
#include "api/server/http.h"
#include "check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define HOST "Host: localhost\r\nConnection: close\r\n"
#define GOOD "Authorization: Bearer user-token\r\n"
#define LOG_MAX (1 << 20)

static int open_town(void **state) {
    struct site *site = site_open();

    fake_job(site->fake);
    fake_give(site->fake, 1, "user", true);
    fake_token(site->fake, "user", "user", ROLE_SUBMIT);
    fake_token(site->fake, "other", "other", ROLE_SUBMIT);
    *state = site;
    return 0;
}

/* The status of the answer to a GET of a job with the header lines @headers (@size bytes). */
static int status_of(struct site *site, const char *headers, size_t size) {
    cleanup(freep) char *answer = NULL;
    struct strbuf text = {};
    int status = 0;

    strbuf_puts(&text, "GET /v1/jobs/1 HTTP/1.1\r\n" HOST);
    strbuf_append(&text, headers, size);
    strbuf_puts(&text, "\r\n");
    answer = site_talk(site, text.data, text.length);
    strbuf_done(&text);
    if (answer && sscanf(answer, "HTTP/1.1 %d", &status) == 1 && status / 100 == 2)
        fail_msg("'%s' is let in: %s", headers, answer);
    return status;
}

static void test_headers_that_hold_no_token(void **state) {
#define LINE(text)                                                                                 \
    { text, sizeof(text) - 1 }
    static const struct {
        const char *text;
        size_t size;
    } lines[] = {
        LINE(""),
        LINE("Authorization:\r\n"),
        LINE("Authorization: \r\n"),
        LINE("Authorization: Bearer\r\n"),
        LINE("Authorization: Bearer \r\n"),
        LINE("Authorization: Bearer     \r\n"),
        LINE("Authorization: user-token\r\n"),
        LINE("Authorization: Beareann-token\r\n"),
        LINE("Authorization: Bearer: user-token\r\n"),
        LINE("Authorization: Bearer\tann-token\r\n"),
        LINE("Authorization: Bearer user-token x\r\n"),
        LINE("Authorization: Bearer user-token,Bearer other-token\r\n"),
        LINE("Authorization: Bearer x user-token\r\n"),
        LINE("Authorization: Bearer \"user-token\"\r\n"),
        LINE("Authorization: Bearer User-token\r\n"),
        LINE("Authorization: Bearer user-toke\r\n"),
        LINE("Authorization: Bearer user-tokenn\r\n"),
        /* libmicrohttpd ends a value at a NUL: what is before it counts. */
        LINE("Authorization: Bearer \0user-token\r\n"),
        LINE("Authorization: Bearer user\0-token\r\n"),
        LINE("Authorization: Bearer \xff\xfe\x80\r\n"),
        LINE("Authorization: Basic YW5uOmFubi10b2tlbg==\r\n"),
        LINE("Authorization: Digest username=\"user\", response=\"user-token\"\r\n"),
        LINE("Proxy-Authorization: Bearer user-token\r\n"),
        LINE("Cookie: Authorization=Bearer user-token\r\n"),
        LINE(GOOD GOOD),
        LINE(GOOD "authorization: Bearer other-token\r\n"),
        LINE("Authorization: Bearer wrong\r\n" GOOD),
    };

    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        int status = status_of(*state, lines[i].text, lines[i].size);

        /* libmicrohttpd answers some of them itself, or hangs up. */
        if (status != 401 && status != 400 && status != 0)
            fail_msg("'%s': %d", lines[i].text, status);
    }
}

/* As long as libmicrohttpd lets it be, and longer. */
static void test_long_headers(void **state) {
    static const size_t sizes[] = {255, 512, 513, 4096, 30000, 100000};

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        cleanup(freep) char *line = calloc(1, sizes[i] + 64);
        size_t n = (size_t)sprintf(line, "Authorization: Bearer ");
        int status;

        memset(line + n, 'a', sizes[i]);
        memcpy(line + n + sizes[i], "\r\n", 2);
        status = status_of(*state, line, n + sizes[i] + 2);
        assert_true(status == 401 || (sizes[i] >= 30000 && (status >= 400 || status == 0)));
    }
}

/* What the daemon logs while it answers a GET with @headers; the caller frees it. */
static char *log_of(struct site *site, const char *headers, int want_status) {
    int log = memfd_create("log", MFD_CLOEXEC), kept = dup(STDERR_FILENO), status;
    char *text = calloc(1, LOG_MAX);

    assert_int_equal(dup2(log, STDERR_FILENO), STDERR_FILENO);
    status = status_of(site, headers, strlen(headers));
    assert_int_equal(dup2(kept, STDERR_FILENO), STDERR_FILENO);
    assert_true(text && pread(log, text, LOG_MAX - 1, 0) >= 0);
    close(log);
    close(kept);
    assert_int_equal(status, want_status);
    return text;
}

/* No header makes a line of the log, or a part of one; with control characters there is none. */
static void test_log_is_not_forged(void **state) {
    cleanup(freep) char *text = log_of(*state,
                                       "Authorization: Bearer EVIL' refused: 403 x\r\n"
                                       "Origin: http://EVIL\r\nX-Request-Id: EVIL\r\n"
                                       "User-Agent: EVIL\r\nX-Forwarded-For: EVIL\r\n",
                                       401);
    cleanup(freep) char *none = log_of(*state, "Authorization: Bearer EVIL x\033[2J\r\n", 400);
    int n = 0;

    for (const char *s = text; *s; s++)
        n += *s == '\n';
    assert_int_equal(n, 1);
    assert_null(strstr(text, "EVIL"));
    assert_string_equal(none, "");
    assert_non_null(strstr(text, "127.0.0.1"));
}

/* The body of a request without a right is not looked at, and not waited for where that can be. */
static void test_refused_before_the_body(void **state) {
    static const char text[] = "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\n" JSON_TYPE
                               "\r\nContent-Length: 60000\r\nExpect: 100-continue\r\n\r\n";
    cleanup(closep) int fd = site_connect(*state, text);
    char answer[4096];
    ssize_t n = recv(fd, answer, sizeof(answer) - 1, 0);

    assert_true(n > 0);
    answer[n] = '\0';
    assert_non_null(strstr(answer, "HTTP/1.1 401"));
    check_problem(ASK(.path = "/v1/jobs", .headers = {JSON_TYPE}, .body = "{"), 401,
                  "unauthorized");
}

/* -------- streams -------- */

static bool is_done(void *ctx) {
    return ((struct watcher *)ctx)->done;
}

static bool has_started(void *ctx) {
    return ((struct watcher *)ctx)->parser.retry_ms > 0;
}

static void test_revoked_streams_end(void **state) {
    struct site *site = *state;
    CURLM *multi = curl_multi_init();
    struct watcher user, other;

    watcher_open(&user, site, multi, "/v1/jobs/1/events", "Authorization: Bearer user-token");
    watcher_open(&other, site, multi, "/v1/events", "Authorization: Bearer other-token");
    assert_true(watch_until(multi, has_started, &user, 10));
    assert_true(watch_until(multi, has_started, &other, 10));
    fake_revoke(site->fake, "user");
    fake_event(site->fake, 1, "layer.finished", "after");
    assert_true(watch_until(multi, is_done, &user, 10));
    assert_null(strstr(user.seen.data, "layer.finished"));
    assert_false(other.done);
    watcher_close(&user, multi);
    /* A new request says why. */
    watcher_open(&user, site, multi, "/v1/jobs/1/events", "Authorization: Bearer user-token");
    assert_true(watch_until(multi, is_done, &user, 10));
    assert_int_equal(user.status, 401);
    watcher_close(&user, multi);
    watcher_close(&other, multi);
    curl_multi_cleanup(multi);
}

static bool has_both(void *ctx) {
    struct watcher *watcher = ctx;

    return watcher->seen.data && strstr(watcher->seen.data, "job.failed");
}

/* Others' private jobs are not in the stream of all jobs, nor does it stop at them. */
static void test_private_events(void **state) {
    struct site *site = *state;
    int64_t own = fake_job(site->fake);
    CURLM *multi = curl_multi_init();
    struct watcher other, user;

    watcher_open(&other, site, multi, "/v1/events?after=0", "Authorization: Bearer other-token");
    watcher_open(&user, site, multi, "/v1/events?after=0", "Authorization: Bearer user-token");
    for (int i = 0; i < 100; i++)
        fake_event(site->fake, 1, "layer.finished", "hidden");
    fake_event(site->fake, own, "job.failed", "seen");
    assert_true(watch_until(multi, has_both, &other, 10));
    assert_true(watch_until(multi, has_both, &user, 10));
    assert_null(strstr(other.seen.data, "layer.finished"));
    assert_non_null(strstr(user.seen.data, "layer.finished"));
    assert_false(other.disorder);
    watcher_close(&other, multi);
    watcher_close(&user, multi);
    curl_multi_cleanup(multi);
}

/* -------- addresses that other machines reach -------- */

static int start(struct fake *fake, struct api **ret_api) {
    char address[] = "0.0.0.0:0", *listen[] = {address};
    struct api_config config = {.listen = listen, .n_listen = 1};
    struct failure failure = {};
    int r = api_start(&config, &fake->service, ret_api, &failure);

    if (r)
        assert_string_equal(failure.code, "listen_without_tokens");
    return r;
}

/* It starts with a token only, and admits no request without one. */
static void test_open_address(void **state) {
    struct site remote = {.fake = fake_new()};

    (void)state;
    assert_int_equal(start(remote.fake, &remote.api), -EINVAL);
    fake_token(remote.fake, "user", "user", ROLE_READ);
    assert_int_equal(start(remote.fake, &remote.api), 0);
    check_problem(visit(&remote, (struct visit){.path = "/v1/jobs"}), 401, "unauthorized");
    fake_revoke(remote.fake, "user");
    check_problem(visit(&remote, (struct visit){.path = "/v1/jobs"}), 401, "unauthorized");
    check_problem(
        visit(&remote, (struct visit){.path = "/v1/jobs", .headers = {"Host: evil.example"}}), 421,
        "host_not_allowed");
    api_stop(remote.api);
    fake_free(remote.fake);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_headers_that_hold_no_token, open_town, close_site),
        cmocka_unit_test_setup_teardown(test_long_headers, open_town, close_site),
        cmocka_unit_test_setup_teardown(test_log_is_not_forged, open_town, close_site),
        cmocka_unit_test_setup_teardown(test_refused_before_the_body, open_town, close_site),
        cmocka_unit_test_setup_teardown(test_revoked_streams_end, open_town, close_site),
        cmocka_unit_test_setup_teardown(test_private_events, open_town, close_site),
        cmocka_unit_test(test_open_address),
    };

    curl_global_init(CURL_GLOBAL_DEFAULT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
