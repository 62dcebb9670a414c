// SPDX-License-Identifier: Apache-2.0
/*
 * Who may ask what: every operation, by every kind of caller, from the table of routes; and that
 * each refusal is one line of the log.
 */
#include "api/routes/table.h"
#include "check.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define N_CALLERS ((int)ARRAY_SIZE(callers))
#define LOG_MAX (1 << 20)

/* Job 1 is private, its owner is user. */
static const struct {
    const char *name;
    const char *header; /* NULL: none */
    bool over_unix;
    bool is_known; /* else 401 */
    enum role role;
    bool is_owner;
} callers[] = {
    {"no token", NULL},
    {"a wrong token", "Authorization: Bearer user-tokem"},
    {"other, read", "Authorization: Bearer other-read-token", false, true, ROLE_READ},
    {"other, submit", "Authorization: Bearer other-token", false, true, ROLE_SUBMIT},
    {"user, read", "Authorization: Bearer user-read-token", false, true, ROLE_READ, true},
    {"user, submit", "Authorization: Bearer user-token", false, true, ROLE_SUBMIT, true},
    {"admin", "Authorization: Bearer admin-token", false, true, ROLE_ADMIN, true},
    {"the daemon's user", NULL, true, true, ROLE_ADMIN, true},
    {"other by the socket", "Authorization: Bearer other-token", true, true, ROLE_SUBMIT},
    {"a wrong token by the socket", "Authorization: Bearer wrong", true},
};

static int open_town(void **state) {
    struct site *site = site_open();

    fake_job(site->fake);
    fake_give(site->fake, 1, "user", true);
    fake_token(site->fake, "user", "user", ROLE_SUBMIT);
    fake_token(site->fake, "user-read", "user", ROLE_READ);
    fake_token(site->fake, "other", "other", ROLE_SUBMIT);
    fake_token(site->fake, "other-read", "other", ROLE_READ);
    fake_token(site->fake, "admin", "admin", ROLE_ADMIN);
    *state = site;
    return 0;
}

/* -------- the log -------- */

static int log_fd, kept_fd;

static void log_begin(void) {
    log_fd = memfd_create("log", MFD_CLOEXEC);
    kept_fd = dup(STDERR_FILENO);
    assert_true(log_fd >= 0 && kept_fd >= 0);
    assert_int_equal(dup2(log_fd, STDERR_FILENO), STDERR_FILENO);
}

/* What was logged since; the caller frees it. */
static char *log_end(void) {
    char *text = calloc(1, LOG_MAX);

    assert_int_equal(dup2(kept_fd, STDERR_FILENO), STDERR_FILENO);
    assert_true(text && pread(log_fd, text, LOG_MAX - 1, 0) >= 0);
    close(log_fd);
    close(kept_fd);
    return text;
}

static int count(const char *text, const char *what) {
    int n = 0;

    for (const char *s = text; (s = strstr(s, what)); s += strlen(what))
        n++;
    return n;
}

/* -------- the table -------- */

/* The path of @route, about job @job. */
static void fill(const struct route *route, const char *job, char path[128]) {
    static const char *const parts[][2] = {{"/backup/{name}", "/backup/quantd.db"},
                                           {"{org}", "org"},
                                           {"{name}", "quantd.json"},
                                           {"{folder}", "none"},
                                           {"{asset}", "none.js"}};
    const char *id = strstr(route->path, "{id}");

    snprintf(path, 128, "%s", route->path);
    if (id)
        snprintf(path, 128, "%.*s%s%s", (int)(id - route->path), route->path, job, id + 4);
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        char *part = strstr(path, parts[i][0]), rest[128];

        if (!part)
            continue;
        snprintf(rest, sizeof(rest), "%s", part + strlen(parts[i][0]));
        snprintf(part, (size_t)(path + 128 - part), "%s%s", parts[i][1], rest);
    }
}

static struct answer ask_as(struct site *site, int caller, const struct route *route,
                            const char *job) {
    struct visit request = {.method = route->method == ROUTE_DELETE ? "DELETE" : NULL,
                            .headers = {"Accept: */*"},
                            .over_unix = callers[caller].over_unix};
    char path[128];
    int n = 1;

    fill(route, job, path);
    request.path = path;
    if (callers[caller].header)
        request.headers[n++] = callers[caller].header;
    if (route->method == ROUTE_POST) {
        request.headers[n++] = JSON_TYPE;
        request.body = route->body_is_optional     ? "{}"
                       : strstr(path, "/priority") ? "{\"priority\": 1}"
                                                   : "{\"model\": \"a/b\", \"name\": \"n\"}";
    }
    return visit(site, request);
}

/* What has to come of it; 0: it is done. */
static long expected(int caller, const struct route *route) {
    bool is_job = strstr(route->path, "{id}");

    if (route->is_public)
        return 0;
    if (!callers[caller].is_known)
        return 401;
    if (callers[caller].role < route->needs)
        return 403;
    return is_job && !callers[caller].is_owner ? 403 : 0;
}

static void check_refusal(const struct answer *answer, const char *log, long status,
                          const char *what) {
    char id[64], line[96], buffer[128];

    answer_header(answer, "X-Request-Id", id, sizeof(id));
    snprintf(line, sizeof(line), "request %s refused: %ld", id, status);
    if (answer->status != status || count(log, line) != 1 || count(log, "refused:") != 1)
        fail_msg("%s: %ld, not %ld; the log: %s", what, answer->status, status, log);
    assert_int_equal(status == 401,
                     *answer_header(answer, "WWW-Authenticate", buffer, sizeof(buffer)) != '\0');
    assert_null(strstr(log, "-token"));
    assert_null(strstr(answer->body.data, "-token"));
}

static void check_operation(struct site *site, int caller, const struct route *route) {
    long status = expected(caller, route);
    cleanup(freep) char *log = NULL;
    struct answer answer;
    char what[160];

    snprintf(what, sizeof(what), "%s %s by %s", route_method_name(route->method), route->path,
             callers[caller].name);
    fake_set_status(site->fake, 1,
                    route->method == ROUTE_DELETE || strstr(route->path, "/retry") ? "failed"
                                                                                   : "running");
    log_begin();
    answer = ask_as(site, caller, route, "1");
    log = log_end();
    if (status) {
        check_refusal(&answer, log, status, what);
    } else if (answer.status / 100 != 2 && answer.status != 404) {
        fail_msg("%s: %ld %s", what, answer.status, answer.body.data);
    } else {
        assert_int_equal(count(log, "refused:"), 0);
        /* Only what is a static file of the page may be missing here. */
        assert_true(answer.status != 404 || strstr(route->path, "{asset}"));
    }
    answer_done(&answer);
}

static void test_every_operation(void **state) {
    for (size_t i = 0; i < n_routes; i++)
        for (int caller = 0; caller < N_CALLERS; caller++)
            check_operation(*state, caller, &routes[i]);
}

/* What changes something needs more than the role read, and what is public changes nothing. */
static void test_roles_of_routes(void **state) {
    (void)state;
    for (size_t i = 0; i < n_routes; i++) {
        bool changes = routes[i].method != ROUTE_GET;

        if (changes)
            assert_true(routes[i].needs >= ROLE_SUBMIT && !routes[i].is_public);
        assert_int_equal(routes[i].is_public && strncmp(routes[i].path, "/v1/", 4) == 0, 0);
    }
}

/* A caller without a right does not learn which jobs there are. */
static void test_refusals_tell_nothing(void **state) {
    for (size_t i = 0; i < n_routes; i++) {
        for (int caller = 0; caller < N_CALLERS; caller++) {
            struct answer there, missing;

            if (!strstr(routes[i].path, "{id}") ||
                (callers[caller].is_known && callers[caller].role >= routes[i].needs))
                continue;
            there = ask_as(*state, caller, &routes[i], "1");
            missing = ask_as(*state, caller, &routes[i], "99");
            assert_int_equal(there.status, missing.status);
            /* All but the id of the request at the end. */
            assert_memory_equal(there.body.data, missing.body.data, there.body.length - 40);
            answer_done(&there);
            answer_done(&missing);
        }
    }
}

/* Without a token there is "local"; with the first one it needs one. */
static void test_local(void **state) {
    struct site *site = *state;
    struct answer answer = ASK(.path = "/v1/whoami");
    cleanup(json_decrefp) json_t *caller = parse(&answer);

    assert_string_equal(text_of(caller, "owner"), "local");
    assert_string_equal(text_of(caller, "role"), "submit");
    assert_string_equal(text_of(caller, "auth"), "none");
    check_header(&answer, "Vary", "Authorization, Accept-Encoding");
    answer_done(&answer);
    /* A token that is none does not become "local". */
    check_problem(ASK(.path = "/v1/whoami", .headers = {"Authorization: Bearer x"}), 401,
                  "unauthorized");
    check_problem(ASK(.path = "/v1/tokens"), 403, "forbidden");
    fake_token(site->fake, "first", "user", ROLE_READ);
    check_problem(ASK(.path = "/v1/whoami"), 401, "unauthorized");
    fake_revoke(site->fake, "first");
    check_problem(ASK(.path = "/v1/whoami", .headers = {"Authorization: Bearer first-token"}), 401,
                  "unauthorized");
}

static void test_whoami(void **state) {
    static const struct {
        const char *header;
        bool over_unix;
        const char *role, *auth;
    } cases[] = {{"Authorization: Bearer user-token", false, "submit", "token"},
                 {"Authorization: Bearer admin-token", false, "admin", "token"},
                 {"Authorization: bearer   user-read-token", true, "read", "token"},
                 {NULL, true, "admin", "peer"}};

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct answer answer = ASK(.path = "/v1/whoami", .headers = {cases[i].header},
                                   .over_unix = cases[i].over_unix);
        cleanup(json_decrefp) json_t *caller = parse(&answer);

        assert_int_equal(answer.status, 200);
        assert_string_equal(text_of(caller, "role"), cases[i].role);
        assert_string_equal(text_of(caller, "auth"), cases[i].auth);
        answer_done(&answer);
    }
}

static void test_tokens(void **state) {
    struct answer answer = ASK(.path = "/v1/tokens", .headers = {JSON_TYPE},
                               .body = "{\"name\": \"ci\"}", .over_unix = true);
    cleanup(json_decrefp) json_t *token = parse(&answer);

    assert_int_equal(answer.status, 201);
    assert_string_equal(text_of(token, "token"), "qd_1_secret");
    check_header(&answer, "Location", "/v1/tokens/ci");
    check_header(&answer, "Cache-Control", "no-store");
    answer_done(&answer);
    check_problem(ASK(.path = "/v1/tokens", .headers = {JSON_TYPE}, .body = "{\"name\": \"taken\"}",
                      .over_unix = true),
                  409, "token_exists");
    check_problem(
        ASK(.path = "/v1/tokens", .headers = {JSON_TYPE}, .body = "{}", .over_unix = true), 422,
        "invalid_parameter");
    check_problem(ASK(.path = "/v1/tokens/fixed", .method = "DELETE", .over_unix = true), 409,
                  "token_fixed");
    check_problem(ASK(.path = "/v1/tokens/missing", .method = "DELETE", .over_unix = true), 404,
                  "token_not_found");
    check_problem(ASK(.path = "/v1/tokens/..", .method = "DELETE", .over_unix = true), 404,
                  "not_found");
}

/* What one caller sees is not "unchanged" for another who sees something else. */
static void test_entity_tags(void **state) {
    static const char *const paths[] = {"/v1/jobs", "/v1/jobs/2"};
    struct site *site = *state;
    char tag[80], known[128];

    fake_job(site->fake);
    for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
        struct answer answer =
            ASK(.path = paths[i], .headers = {"Authorization: Bearer user-token"});

        assert_int_equal(answer.status, 200);
        answer_header(&answer, "ETag", tag, sizeof(tag));
        snprintf(known, sizeof(known), "If-None-Match: %s", tag);
        answer_done(&answer);
        answer = ASK(.path = paths[i], .headers = {"Authorization: Bearer user-read-token", known});
        assert_int_equal(answer.status, 304);
        answer_done(&answer);
        answer = ASK(.path = paths[i], .headers = {"Authorization: Bearer other-token", known});
        assert_int_equal(answer.status, 200);
        answer_done(&answer);
        answer = ASK(.path = paths[i], .headers = {known}, .over_unix = true);
        assert_int_equal(answer.status, 200);
        answer_done(&answer);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_operation, open_town, close_site),
        cmocka_unit_test(test_roles_of_routes),
        cmocka_unit_test_setup_teardown(test_refusals_tell_nothing, open_town, close_site),
        cmocka_unit_test_setup_teardown(test_local, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_whoami, open_town, close_site),
        cmocka_unit_test_setup_teardown(test_tokens, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_entity_tags, open_town, close_site),
    };

    curl_global_init(CURL_GLOBAL_DEFAULT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
