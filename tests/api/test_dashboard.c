// SPDX-License-Identifier: Apache-2.0
/* The page at / and its files; and what it asks lists for. */
#include "api/dashboard/assets.h"
#include "base/macros.h"
#include "check.h"

#include <stdio.h>
#include <stdlib.h>

#define BROWSER "Accept: text/html,application/xhtml+xml,*/*;q=0.8"

static const struct asset *asset_of(const char *name) {
    for (size_t i = 0; i < n_assets; i++)
        if (strcmp(assets[i].name, name) == 0)
            return &assets[i];
    return NULL;
}

static void need_assets(void) {
    if (n_assets == 0) {
        print_message("built without the dashboard\n");
        skip();
    }
}

static void check_body(const struct answer *answer, const char *data, size_t size) {
    assert_int_equal(answer->body.length, size);
    assert_memory_equal(answer->body.data, data, size);
}

/* A request that does not ask for HTML gets text, as does every request without a page. */
static void test_text(void **state) {
    static const char *const accepts[] = {"Accept:", "Accept: */*", "Accept: text/plain",
                                          "Accept: text/html;q=0, */*"};

    for (size_t i = 0; i < ARRAY_SIZE(accepts); i++) {
        struct answer answer = ASK(.path = "/", .headers = {accepts[i]});

        assert_int_equal(answer.status, 200);
        check_header(&answer, "Content-Type", "text/plain; charset=utf-8");
        check_header(&answer, "Vary", "Accept, Accept-Encoding");
        assert_non_null(strstr(answer.body.data, "/openapi.json"));
        answer_done(&answer);
    }
}

static void test_page(void **state) {
    const struct asset *page = asset_of("index.html");
    struct answer answer;
    char policy[512];

    need_assets();
    answer = ASK(.path = "/", .headers = {BROWSER});
    assert_int_equal(answer.status, 200);
    check_header(&answer, "Content-Type", "text/html; charset=utf-8");
    check_header(&answer, "X-Content-Type-Options", "nosniff");
    check_header(&answer, "Referrer-Policy", "no-referrer");
    check_header(&answer, "Cross-Origin-Opener-Policy", "same-origin");
    answer_header(&answer, "Content-Security-Policy", policy, sizeof(policy));
    assert_non_null(strstr(policy, "default-src 'none'"));
    assert_non_null(strstr(policy, "frame-ancestors 'none'"));
    assert_non_null(strstr(policy, "require-trusted-types-for 'script'"));
    assert_null(strstr(policy, "unsafe"));
    assert_null(strstr(policy, "http"));
    check_body(&answer, page->data, page->size);
    answer_done(&answer);
}

/* Every file, plain and packed; a second time it is not sent. */
static void test_files(void **state) {
    char path[160], known[160];

    need_assets();
    for (size_t i = 0; i < n_assets; i++) {
        const struct asset *asset = &assets[i];
        struct answer answer;

        snprintf(path, sizeof(path), "/assets/%s", asset->name);
        answer = ASK(.path = path);
        assert_int_equal(answer.status, 200);
        check_header(&answer, "Content-Type", asset->type);
        check_header(&answer, "ETag", asset->tag);
        check_header(&answer, "Content-Encoding", "");
        check_body(&answer, asset->data, asset->size);
        answer_done(&answer);

        answer = ASK(.path = path, .headers = {"Accept-Encoding: br, gzip"});
        check_header(&answer, "Content-Encoding", "gzip");
        check_header(&answer, "ETag", asset->packed_tag);
        check_header(&answer, "Vary", "Accept-Encoding");
        check_body(&answer, asset->packed, asset->packed_size);
        assert_memory_equal(answer.body.data, "\x1f\x8b", 2);
        answer_done(&answer);

        snprintf(known, sizeof(known), "If-None-Match: %s", asset->packed_tag);
        answer = ASK(.path = path, .headers = {"Accept-Encoding: gzip", known});
        assert_int_equal(answer.status, 304);
        check_header(&answer, "ETag", asset->packed_tag);
        assert_int_equal(answer.body.length, 0);
        answer_done(&answer);

        /* The tag of the packed file is not that of the plain one. */
        answer = ASK(.path = path, .headers = {"Accept-Encoding: gzip;q=0", known});
        assert_int_equal(answer.status, 200);
        answer_done(&answer);
    }
}

static void test_no_file(void **state) {
    check_problem(ASK(.path = "/assets/nothing.js"), 404, "not_found");
    check_problem(ASK(.path = "/assets/"), 404, "not_found");
    check_problem(ASK(.path = "/assets/../index.html"), 404, "not_found");
    check_problem(ASK(.path = "/assets/%2e%2e"), 404, "not_found");
}

/* What a file names after @mark is there, so that no part of the page is missing in the binary. */
static void check_names(const struct asset *asset, const char *mark) {
    cleanup(freep) char *text = calloc(1, asset->size + 1); /* what is embedded has no end mark */

    assert_non_null(text);
    memcpy(text, asset->data, asset->size);
    for (char *at = strstr(text, mark); at; at = strstr(at, mark)) {
        char name[64];

        at += strlen(mark);
        snprintf(name, sizeof(name), "%.*s", (int)strcspn(at, "\""), at);
        if (!asset_of(name))
            fail_msg("%s names '%s', which is not there", asset->name, name);
    }
}

/* What a module imports, seen from its own folder: "./x.js" or "../lib/x.js". */
static void check_imports(const struct asset *asset) {
    cleanup(freep) char *text = calloc(1, asset->size + 1); /* no NUL ends an asset */
    static const char mark[] = " from \"";

    assert_non_null(text);
    memcpy(text, asset->data, asset->size);
    for (char *at = strstr(text, mark); at; at = strstr(at, mark)) {
        int folder = (int)(strrchr(asset->name, '/') ? strcspn(asset->name, "/") : 0);
        char name[128];

        at += strlen(mark);
        if (strncmp(at, "../", 3) == 0)
            snprintf(name, sizeof(name), "%.*s", (int)strcspn(at, "\"") - 3, at + 3);
        else
            snprintf(name, sizeof(name), "%.*s%s%.*s", folder, asset->name, folder ? "/" : "",
                     (int)strcspn(at, "\"") - 2, at + 2);
        if (!asset_of(name))
            fail_msg("%s imports '%s', which is not there", asset->name, name);
    }
}

static void test_names(void **state) {
    (void)state;
    need_assets();
    for (size_t i = 0; i < n_assets; i++) {
        check_names(&assets[i], "\"/assets/");
        check_imports(&assets[i]);
    }
}

static size_t n_listed(struct answer answer) {
    cleanup(json_decrefp) json_t *list = parse(&answer);
    size_t n = json_array_size(json_object_get(list, "data"));

    assert_int_equal(answer.status, 200);
    answer_done(&answer);
    return n;
}

static void test_filters(void **state) {
    struct site *site = *state;
    int64_t second = fake_job(site->fake);

    fake_set_status(site->fake, second, "failed");
    assert_int_equal(n_listed(ASK(.path = "/v1/jobs?status=running,failed")), 2);
    assert_int_equal(n_listed(ASK(.path = "/v1/jobs?status=running,queued")), 1);
    assert_int_equal(n_listed(ASK(.path = "/v1/jobs?status=cancelled,succeeded")), 0);
    assert_int_equal(n_listed(ASK(.path = "/v1/jobs?kind=quantize")), 2);
    assert_int_equal(n_listed(ASK(.path = "/v1/jobs?kind=eval")), 0);
    assert_int_equal(n_listed(ASK(.path = "/v1/jobs?text=2")), 1);
    assert_int_equal(n_listed(ASK(.path = "/v1/jobs?label=run=1&sort=id")), 2);
    assert_int_equal(n_listed(ASK(.path = "/v1/jobs?label=run%3D2")), 0);
    assert_int_equal(n_listed(ASK(.path = "/v1/jobs?sort=bits")), 0);
    assert_int_equal(n_listed(ASK(.path = "/v1/jobs?perplexity_max=7.5&wbits=4")), 2);
    check_problem(ASK(.path = "/v1/jobs?sort=name"), 422, "invalid_parameter");
    check_problem(ASK(.path = "/v1/jobs?label="), 422, "invalid_parameter");
    check_problem(ASK(.path = "/v1/jobs?wbits=0"), 422, "invalid_parameter");
    check_problem(ASK(.path = "/v1/jobs?wbits=17"), 422, "invalid_parameter");
    check_problem(ASK(.path = "/v1/jobs?perplexity_min=nan"), 422, "invalid_parameter");
    check_problem(ASK(.path = "/v1/jobs?perplexity_min=0"), 422, "invalid_parameter");
    check_problem(ASK(.path = "/v1/jobs?status=running,"), 422, "invalid_parameter");
    check_problem(ASK(.path = "/v1/jobs?status=,running"), 422, "invalid_parameter");
    check_problem(ASK(.path = "/v1/jobs?status=runn"), 422, "invalid_parameter");
    check_problem(ASK(.path = "/v1/jobs?status="), 422, "invalid_parameter");
    check_problem(ASK(.path = "/v1/jobs?kind=other"), 422, "invalid_parameter");
    check_problem(ASK(.path = "/v1/jobs?text="), 422, "invalid_parameter");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),  cmocka_unit_test(test_page),
        cmocka_unit_test(test_files), cmocka_unit_test(test_no_file),
        cmocka_unit_test(test_names), cmocka_unit_test(test_filters),
    };

    curl_global_init(CURL_GLOBAL_DEFAULT);
    return cmocka_run_group_tests(tests, open_site, close_site);
}
