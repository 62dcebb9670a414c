// SPDX-License-Identifier: Apache-2.0
/*
 * The whole daemon while it answers, each allocation of each request failing in turn: it does not
 * crash; the client gets an answer as without the want of memory, or a problem of status 500 or
 * 503, or a closed connection; and the next request is answered.
 */
#include "base/file.h"
#include "base/log/log.h"
#include "base/str.h"
#include "daemon/config/read.h"
#include "daemon/daemon.h"
#include "tests/fault/allocations.h"
#include "tests/unit/model/tiny_model.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define TEXT "the quick brown fox jumps over the lazy dog and back again"
#define JOB                                                                                        \
    "{\"model\":\"m\",\"wbits\":4,\"groupsize\":32,\"nearest\":true,\"eval\":[\"file:x.txt\"],"    \
    "\"seqlen\":16,\"labels\":{\"a\":\"b\"}}"
#define REFUSED "{\"model\":\"m\",\"wbits\":5}"
#define ANSWER_MAX (1 << 20)
#define ANSWER_MS 20000
#define ALLOCATIONS_MAX 5000
#define SUBMISSION_ALLOCATIONS 400

struct site {
    char dir[64], socket[96];
    struct config *config;
    struct daemon *daemon;
};

/* ---- a client ---- */

static int connect_to(const struct site *site) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", site->socket);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

/* The status, 0 when the connection was closed without one; the answer goes to @body. */
static int ask(const struct site *site, const char *method, const char *path, const char *headers,
               const char *body, char *answer) {
    cleanup(closep) int fd = connect_to(site);
    cleanup(freep) char *request =
        str_format("%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s%sContent-Length: "
                   "%zu\r\n\r\n%s",
                   method, path, headers, body[0] ? "Content-Type: application/json\r\n" : "",
                   strlen(body), body);
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    size_t size = 0;
    ssize_t n = 1;
    int status = 0;

    assert_non_null(request);
    answer[0] = '\0';
    if (send(fd, request, strlen(request), MSG_NOSIGNAL) < 0)
        return 0;
    while (n > 0 && size < ANSWER_MAX) {
        if (poll(&readable, 1, ANSWER_MS) <= 0)
            fail_msg("%s %s: no answer, and the connection stays", method, path);
        n = read(fd, answer + size, ANSWER_MAX - size);
        size += n > 0 ? (size_t)n : 0;
    }
    answer[size] = '\0';
    sscanf(answer, "HTTP/1.1 %d", &status);
    return status;
}

static char buffer[ANSWER_MAX + 1];

static int submit(const struct site *site) {
    const char *id;
    int number = 0;

    assert_int_equal(ask(site, "POST", "/v1/jobs", "", JOB, buffer), 202);
    id = strstr(buffer, "\"id\":");
    assert_non_null(id);
    sscanf(id, "\"id\":%d", &number);
    return number;
}

static void wait_for(const struct site *site, int id, const char *status) {
    cleanup(freep) char *path = str_format("/v1/jobs/%d", id);
    cleanup(freep) char *word = str_format("\"status\":\"%s\"", status);

    do {
        assert_int_equal(ask(site, "GET", path, "", "", buffer), 200);
        assert_null(strstr(buffer, "\"status\":\"failed\""));
        usleep(2000);
    } while (!strstr(buffer, word));
}

/* ---- the daemon, in this process ---- */

static int setup(void **state) {
    static struct site site = {.dir = "/tmp/quantd-test-XXXXXX"};
    cleanup(freep) char *state_dir = NULL, *cache_dir = NULL, *models = NULL, *model = NULL;
    cleanup(freep) char *listen = NULL, *text = NULL;
    struct failure failure = {};
    char *environment[] = {(char *)"HF_HUB_OFFLINE=1", NULL};

    allocations_spare_me();
    /* jansson 2.14 itself frees a bad pointer when memory runs out while it parses. */
    json_set_alloc_funcs(allocations_sure_malloc, free);
    assert_non_null(mkdtemp(site.dir));
    snprintf(site.socket, sizeof(site.socket), "%s/socket", site.dir);
    state_dir = str_format("%s/state", site.dir);
    cache_dir = str_format("%s/cache", site.dir);
    models = str_format("%s/models", site.dir);
    model = str_format("%s/m", models);
    text = str_format("%s/x.txt", models);
    listen = str_format("unix:%s", site.socket);
    assert_int_equal(dir_make(models), 0);
    assert_int_equal(file_replace(text, TEXT, strlen(TEXT)), 0);
    if (tiny_model_write(model, &failure))
        fail_msg("%s", failure.detail);
    {
        char *argv[] = {
            (char *)"quantd", (char *)"--state-dir",  state_dir,    (char *)"--cache-dir",
            cache_dir,        (char *)"--listen",     listen,       (char *)"--model-root",
            models,           (char *)"--data-root",  models,       (char *)"--device",
            (char *)"cpu",    (char *)"--disk-floor", (char *)"1M", (char *)"--log-level",
            (char *)"error"};

        if (config_read(ARRAY_SIZE(argv), argv, environment, &site.config, &failure))
            fail_msg("%s", failure.detail);
    }
    log_set_level(site.config->log_level);
    if (daemon_start(site.config, &site.daemon, &failure))
        fail_msg("%s", failure.detail);
    *state = &site;
    return 0;
}

static int teardown(void **state) {
    struct site *site = *state;

    assert_int_equal(daemon_stop(site->daemon), 0);
    config_free(site->config);
    return dir_remove(site->dir);
}

/* ---- tests ---- */

struct request {
    const char *method, *path, *headers, *body;
    int status; /* the answer when there is memory */
    int also;   /* another one that is right when there is none */
};

/* An answer that says that it is JSON is whole. */
static void check_json(const struct request *request, int n, const char *answer) {
    const char *body = strstr(answer, "\r\n\r\n"), *type = strstr(answer, "json\r\n");
    json_t *value;

    if (request->status == 206 || !body || !body[4] || !type || type > body)
        return;
    value = json_loads(body + 4, JSON_DECODE_ANY, NULL);
    if (!value)
        fail_msg("%s %s, allocation %d: not JSON: %s", request->method, request->path, n, answer);
    json_decref(value);
}

/* Return: did an allocation fail? */
static bool fail_one(const struct site *site, const struct request *request, int n) {
    bool hit;
    int status;

    allocations_fail(n);
    status = ask(site, request->method, request->path, request->headers, request->body, buffer);
    hit = allocations_stop();
    check_json(request, n, buffer);
    if (!hit)
        return false;
    if (status && status != request->status && status != 500 && status != 503 &&
        (!request->also || status != request->also))
        fail_msg("%s %s, allocation %d: status %d: %s", request->method, request->path, n, status,
                 buffer);
    return true;
}

static void test_requests(void **state) {
    static const struct request requests[] = {
        {"GET", "/", "", "", 200},
        {"GET", "/healthz", "", "", 200},
        {"GET", "/readyz", "", "", 200},
        {"GET", "/metrics", "", "", 200},
        {"GET", "/openapi.json", "", "", 200},
        {"GET", "/v1/version", "", "", 200},
        {"GET", "/v1/devices", "", "", 200},
        {"GET", "/v1/models", "", "", 200},
        {"GET", "/v1/events?limit=3", "Accept: application/json\r\n", "", 200},
        {"GET", "/v1/jobs?limit=2&status=succeeded", "", "", 200},
        {"GET", "/v1/jobs?limit=x", "", "", 422},
        {"GET", "/v1/jobs/1", "If-None-Match: \"x\"\r\n", "", 200},
        {"GET", "/v1/jobs/1/events", "Accept: application/json\r\n", "", 200},
        {"GET", "/v1/jobs/1/events", "Accept: text/event-stream\r\n", "", 200},
        {"GET", "/v1/jobs/1/layers", "", "", 200},
        {"GET", "/v1/jobs/1/artifacts", "", "", 200},
        {"GET", "/v1/jobs/1/artifacts/config.json", "Range: bytes=1-9\r\n", "", 206},
        {"GET", "/v1/jobs/1/artifacts/none", "", "", 404},
        {"GET", "/v1/jobs/999", "", "", 404},
        {"GET", "/nothing", "", "", 404},
        {"POST", "/v1/jobs", "Idempotency-Key: k\r\n", REFUSED, 422},
        {"POST", "/v1/jobs", "", "{", 400},
        {"POST", "/v1/jobs/1/cancel", "", "", 409},
        {"POST", "/v1/jobs/1/retry", "", "", 409},
        {"DELETE", "/v1/models/org/name", "", "", 404, 409}, /* in use, for all that is known */
        {"DELETE", "/v1/jobs/999", "", "", 404},
    };
    struct site *site = *state;
    int total = 0;

    assert_int_equal(submit(site), 1);
    wait_for(site, 1, "succeeded");
    for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
        const struct request *r = &requests[i];
        int n = 1;

        assert_int_equal(ask(site, r->method, r->path, r->headers, r->body, buffer), r->status);
        while (fail_one(site, r, n)) {
            assert_int_equal(ask(site, "GET", "/healthz", "", "", buffer), 200);
            assert_true(++n < ALLOCATIONS_MAX);
        }
        assert_int_equal(ask(site, r->method, r->path, r->headers, r->body, buffer), r->status);
        total += n - 1;
    }
    printf("%zu requests: %d allocations failed in turn\n", ARRAY_SIZE(requests), total);
}

/* One key is one job, however its submission went. The worker's allocations are counted too. */
static void test_submission(void **state) {
    struct site *site = *state;
    int n_first = submit(site), n_failed = 0, id;

    for (int n = 1; n <= SUBMISSION_ALLOCATIONS; n++) {
        char key[40], *at;

        snprintf(key, sizeof(key), "Idempotency-Key: job-%d\r\n", n);
        allocations_fail(n);
        ask(site, "POST", "/v1/jobs", key, JOB, buffer);
        n_failed += allocations_stop();
        if (ask(site, "POST", "/v1/jobs", key, JOB, buffer) != 202)
            fail_msg("allocation %d: %s", n, buffer);
        at = strstr(buffer, "\"id\":");
        assert_non_null(at);
        assert_int_equal(sscanf(at, "\"id\":%d", &id), 1);
        assert_int_equal(id, n_first + n);
    }
    assert_true(n_failed > SUBMISSION_ALLOCATIONS / 2);
    printf("a submission: %d allocations failed in turn\n", n_failed);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_submission),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
