// SPDX-License-Identifier: Apache-2.0
/* Which URLs and which addresses notifications may go to. */
#include "base/cleanup.h"
#include "base/macros.h"
#include "daemon/access/target.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static char one[] = "hooks.example.org", two[] = "Other.example.org:8443", three[] = "10.0.0.1:80";
static char *const hosts[] = {one, two, three};
static const struct target_policy policy = {.hosts = hosts, .n_hosts = 3, .key = "key"};
static const struct target_policy inside = {
    .hosts = hosts, .n_hosts = 3, .key = "key", .private = true};

static void expect_url(const struct target_policy *of, const char *url, bool allowed) {
    struct failure failure = {};
    int r = target_check(of, url, &failure);

    if ((r == 0) != allowed)
        fail_msg("'%s' is %s", url, r ? failure.detail : "allowed");
    if (r) {
        assert_int_equal(r, -EINVAL);
        assert_string_equal(failure.field, "notify");
    }
}

static void test_urls(void **state) {
    static const char *const good[] = {
        "https://hooks.example.org",        "https://hooks.example.org/a?b=c",
        "https://HOOKS.example.org:443/",   "https://hooks.example.org?x",
        "https://other.example.org:8443/x", "https://hooks.example.org/@"};
    static const char *const bad[] = {"",
                                      "https://",
                                      "https:///",
                                      "hooks.example.org",
                                      "http://hooks.example.org/",
                                      "https://hooks.example.org:8443/",
                                      "https://other.example.org/",
                                      "https://hooks.example.org.evil.org/",
                                      "https://evil.org/hooks.example.org",
                                      "https://hooks.example.org@evil.org/",
                                      "https://evil.org\\@hooks.example.org/",
                                      "https://user:x@hooks.example.org/",
                                      "https://hooks.example.org#@evil.org/",
                                      "https://hooks.example.org:443@evil.org/",
                                      "https://hooks.example.org:/",
                                      "https://hooks.example.org:0443/",
                                      "https://hooks.example.org:99999/",
                                      "https://hooks.example.org/\r\nHost: x",
                                      "https://hooks.example.org/\xc3\xa4",
                                      "HTTPS://hooks.example.org/",
                                      "https://.hooks.example.org/",
                                      "https://hooks.example.org./",
                                      "https://[::1]/",
                                      "https://10.0.0.1/",
                                      "file:///etc/passwd"};

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
        expect_url(&policy, good[i], true);
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        expect_url(&policy, bad[i], false);
    expect_url(&inside, "http://10.0.0.1/x", true);
    expect_url(&inside, "http://hooks.example.org/", true);
    expect_url(&inside, "http://hooks.example.org:443/", false);
    expect_url(NULL, "https://hooks.example.org/", false);
    expect_url(&(struct target_policy){.hosts = hosts, .n_hosts = 3}, "https://hooks.example.org/",
               false);
}

static void test_hosts(void **state) {
    (void)state;
    assert_true(target_check_host("a") && target_check_host("a.b:1") &&
                target_check_host("1.2.3.4"));
    assert_false(target_check_host("") || target_check_host("a b") || target_check_host("a:") ||
                 target_check_host("a:0") || target_check_host("https://a") ||
                 target_check_host("a/") || target_check_host("-a") || target_check_host("*.a"));
}

static bool is_private(int family, const char *text) {
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    struct sockaddr_in v4 = {.sin_family = AF_INET};

    assert_int_equal(
        inet_pton(family, text, family == AF_INET ? (void *)&v4.sin_addr : (void *)&v6.sin6_addr),
        1);
    return target_is_private(family == AF_INET ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6);
}

static void test_addresses(void **state) {
    static const char *const closed_v4[] = {
        "0.0.0.0",        "10.1.2.3",    "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1",
        "172.31.255.255", "192.168.0.1", "198.18.0.1", "224.0.0.1", "255.255.255.255", "192.0.0.8"};
    static const char *const open_v4[] = {"1.1.1.1",     "9.255.255.255", "11.0.0.1",
                                          "100.128.0.1", "172.15.0.1",    "172.32.0.1",
                                          "192.167.0.1", "223.0.0.1"};
    static const char *const closed_v6[] = {"::",
                                            "::1",
                                            "fc00::1",
                                            "fd12::1",
                                            "fe80::1",
                                            "ff02::1",
                                            "::ffff:127.0.0.1",
                                            "::ffff:10.0.0.1",
                                            "64:ff9b::127.0.0.1",
                                            "2002:7f00:1::1",
                                            "2002:a9fe:a9fe::1",
                                            "::127.0.0.1"};
    static const char *const open_v6[] = {"2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1",
                                          "2002:101:101::1"};

    (void)state;
    for (size_t i = 0; i < sizeof(closed_v4) / sizeof(*closed_v4); i++)
        assert_true(is_private(AF_INET, closed_v4[i]));
    for (size_t i = 0; i < sizeof(open_v4) / sizeof(*open_v4); i++)
        assert_false(is_private(AF_INET, open_v4[i]));
    for (size_t i = 0; i < sizeof(closed_v6) / sizeof(*closed_v6); i++)
        assert_true(is_private(AF_INET6, closed_v6[i]));
    for (size_t i = 0; i < sizeof(open_v6) / sizeof(*open_v6); i++)
        assert_false(is_private(AF_INET6, open_v6[i]));
    assert_true(target_is_private(&(struct sockaddr){.sa_family = AF_UNIX}));
}

static void test_shown(void **state) {
    static const char *const cases[][2] = {
        {"https://hooks.example.org/services/T0/B0/secret", "https://hooks.example.org/..."},
        {"https://example.org:8443/?key=secret", "https://example.org:8443/..."},
        {"https://example.org?key=secret", "https://example.org/..."},
        {"https://example.org/", "https://example.org"},
        {"https://example.org", "https://example.org"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        cleanup(freep) char *shown = target_shown(cases[i][0]);

        assert_string_equal(shown, cases[i][1]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_shown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
