// SPDX-License-Identifier: Apache-2.0
/* The options of the hub, and the variables that other programs know too. */
#include "daemon/config/read.h"

#include "base/file.h"
#include "base/macros.h"
#include "base/str.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static char dir[] = "/tmp/quantd-test-XXXXXX";

/* Both lists end with NULL; the flags begin behind the program's name. */
static int read_config(char *const *flags, char *const *environment, struct config **ret_config,
                       struct failure *failure) {
    char *args[16] = {(char *)"quantd"};
    int n = 1;

    for (; *flags; flags++)
        args[n++] = *flags;
    return config_read(n, args, environment, ret_config, failure);
}

static char *const nothing[] = {NULL};

static void test_defaults(void **state) {
    cleanup(config_freep) struct config *config = NULL;
    char *flags[] = {(char *)"--cache-dir=/c", NULL};
    struct failure failure;

    (void)state;
    assert_int_equal(read_config(flags, nothing, &config, &failure), 0);
    assert_string_equal(config->hub_endpoint, "https://huggingface.co");
    assert_string_equal(config->hub_cache, "/c/hub");
    assert_null(config->hub_token);
    assert_false(config->hub_offline);
    assert_int_equal(config->disk_floor, 1 << 30);
    assert_int_equal(config->cache_limit, 0);
}

static void test_environment(void **state) {
    cleanup(config_freep) struct config *config = NULL;
    cleanup(config_freep) struct config *flagged = NULL;
    char *environment[] = {(char *)"HF_ENDPOINT=https://hub.example", (char *)"HF_HOME=/h",
                           (char *)"HF_HUB_OFFLINE=1", (char *)"HF_TOKEN=hf_a", NULL};
    char *flags[] = {(char *)"--hub-endpoint=http://127.0.0.1:80",
                     (char *)"--hub-cache=/mine",
                     (char *)"--hub-offline=no",
                     (char *)"--disk-floor=10G",
                     (char *)"--cache-limit=1T",
                     NULL};
    struct failure failure;

    (void)state;
    assert_int_equal(read_config(nothing, environment, &config, &failure), 0);
    assert_string_equal(config->hub_endpoint, "https://hub.example");
    assert_string_equal(config->hub_cache, "/h/hub");
    assert_string_equal(config->hub_token, "hf_a");
    assert_true(config->hub_offline);
    assert_int_equal(read_config(flags, environment, &flagged, &failure), 0);
    assert_string_equal(flagged->hub_endpoint, "http://127.0.0.1:80");
    assert_string_equal(flagged->hub_cache, "/mine");
    assert_false(flagged->hub_offline);
    assert_true(flagged->disk_floor == (uint64_t)10 << 30);
    assert_true(flagged->cache_limit == (uint64_t)1 << 40);
}

/* The credential of the service manager wins over the environment, a flag over both. */
static void test_tokens(void **state) {
    cleanup(config_freep) struct config *config = NULL;
    cleanup(config_freep) struct config *flagged = NULL;
    cleanup(config_freep) struct config *missing = NULL;
    cleanup(freep) char *credential = str_format("%s/hf_token", dir);
    cleanup(freep) char *other = str_format("%s/other", dir);
    cleanup(freep) char *credentials = str_format("CREDENTIALS_DIRECTORY=%s", dir);
    cleanup(freep) char *flag = str_format("--hub-token-file=%s", other);
    char *environment[] = {(char *)"HF_TOKEN=hf_a", credentials, NULL};
    char *flags[] = {flag, NULL};
    struct failure failure;

    (void)state;
    assert_int_equal(read_config(nothing, environment, &missing, &failure), 0);
    assert_string_equal(missing->hub_token, "hf_a");
    assert_int_equal(file_replace(credential, "hf_b\n", 5), 0);
    assert_int_equal(file_replace(other, "hf_c\r\n", 6), 0);
    assert_int_equal(read_config(nothing, environment, &config, &failure), 0);
    assert_string_equal(config->hub_token, "hf_b");
    assert_int_equal(read_config(flags, environment, &flagged, &failure), 0);
    assert_string_equal(flagged->hub_token, "hf_c");
}

static void test_refusals(void **state) {
    static const char *const bad[] = {"--hub-endpoint=http://hub.example",
                                      "--hub-endpoint=file:///etc/passwd",
                                      "--hub-offline=maybe",
                                      "--disk-floor=much",
                                      "--disk-floor=-1",
                                      "--disk-floor=9999999T",
                                      "--cache-limit=1X",
                                      "--data-source=ptb.train",
                                      "--data-source=x=https://a.example",
                                      "--data-source=c4.train=http://a.example/x"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        cleanup(config_freep) struct config *config = NULL;
        char *flags[] = {(char *)bad[i], NULL};
        struct failure failure;

        if (read_config(flags, nothing, &config, &failure) != -EINVAL)
            fail_msg("'%s' is taken", bad[i]);
        assert_string_equal(failure.code, "config_invalid");
    }
}

static int make_dir(void **state) {
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state) {
    (void)state;
    return dir_remove(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_refusals),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
