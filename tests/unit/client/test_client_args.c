// SPDX-License-Identifier: Apache-2.0
#include "base/file.h"
#include "base/str.h"
#include "client/args.h"
#include "client/client.h"
#include "client/job/request.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static const struct arg_option options[] = {
    {"wbits", "N", "bits", "wbits", ARG_INT},
    {"percdamp", "F", "damping", "percdamp", ARG_REAL},
    {"act-order", NULL, "order", "act_order"},
    {"eval", "LIST", "sets", "eval", ARG_SETS},
    REQUEST_OPTIONS,
};
static const struct arg_table table = {options, ARRAY_SIZE(options)};

/* Parses @line, split at blanks; at most two positional words. */
static int parse(const char *line, struct args *args, int *ret_used, struct failure *failure) {
    static char copy[512];
    static char *words[64];
    char *rest = NULL;
    int n = 0;

    snprintf(copy, sizeof(copy), "%s", line);
    for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
        words[n++] = word;
    *args = (struct args){};
    return args_parse(args, n, words, &table, 1, 2, ret_used, failure);
}

static void test_options(void **state) {
    struct failure failure;
    struct args args;
    int used;

    (void)state;
    assert_int_equal(parse("m --wbits 4 --act-order d --wbits=3", &args, &used, &failure), 0);
    assert_int_equal(used, 6);
    assert_int_equal(args.n_positional, 2);
    assert_string_equal(args.positional[1], "d");
    assert_string_equal(args_get(&args, "wbits"), "3");
    assert_true(args_has(&args, "act-order"));
    assert_false(args_has(&args, "eval"));

    /* a value may be negative, a lone dash is a word, "--" ends the options */
    assert_int_equal(parse("--priority -5 - -- --act-order", &args, &used, &failure), 0);
    assert_string_equal(args_get(&args, "priority"), "-5");
    assert_string_equal(args.positional[0], "-");
    assert_string_equal(args.positional[1], "--act-order");
    assert_false(args_has(&args, "act-order"));

    /* words beyond the positional ones are left to the caller */
    assert_int_equal(parse("a b c", &args, &used, &failure), 0);
    assert_int_equal(used, 2);
}

static void test_errors(void **state) {
    static const struct {
        const char *line, *detail, *hint;
    } cases[] = {
        {"m --wbit 4", "unknown option '--wbit'", "did you mean '--wbits'"},
        {"m --actorder", "unknown option '--actorder'", "did you mean '--act-order'"},
        {"m --act_order", "unknown option '--act_order'", "did you mean '--act-order'"},
        {"m --wbits", "option '--wbits' needs a value", ""},
        {"m --wbits --act-order", "option '--wbits' needs a value", ""},
        {"m --act-order=yes", "option '--act-order' takes no value", ""},
        {"m -x", "unknown option '-x'", ""},
        {"m --zzzzzzzzzz=4", "unknown option '--zzzzzzzzzz=4'", "--help lists"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct failure failure = {};
        struct args args;
        int used;

        assert_int_equal(parse(cases[i].line, &args, &used, &failure), -EINVAL);
        assert_string_equal(failure.code, "usage");
        if (!strstr(failure.detail, cases[i].detail) || !strstr(failure.hint, cases[i].hint))
            fail_msg("%s: %s / %s", cases[i].line, failure.detail, failure.hint);
    }
}

static void test_too_many(void **state) {
    char *words[ARGS_GIVEN_MAX + 1], word[] = "--act-order";
    struct failure failure = {};
    struct args args = {};
    int used;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        words[i] = word;
    assert_int_equal(args_parse(&args, ARRAY_SIZE(words), words, &table, 1, 0, &used, &failure),
                     -EINVAL);
}

static void test_numbers(void **state) {
    struct failure failure = {};
    uint64_t value = 7;
    struct args args;
    int used;

    (void)state;
    assert_int_equal(parse("m", &args, &used, &failure), 0);
    assert_int_equal(args_u64(&args, "wbits", 100, &value, &failure), 0);
    assert_int_equal(value, 7);
    assert_int_equal(parse("m --wbits 101", &args, &used, &failure), 0);
    assert_int_equal(args_u64(&args, "wbits", 100, &value, &failure), -EINVAL);
    assert_int_equal(args_job_id("17", &value, &failure), 0);
    assert_int_equal(value, 17);
    assert_int_equal(args_job_id("0", &value, &failure), -EINVAL);
    assert_int_equal(args_job_id("-1", &value, &failure), -EINVAL);
    assert_int_equal(args_job_id("9223372036854775808", &value, &failure), -EINVAL);
    assert_int_equal(args_job_id("1/../2", &value, &failure), -EINVAL);
}

/* The request for @server that @line makes, as compact JSON, or the failure's detail. */
static char *request_of(const char *server, const char *line) {
    cleanup(json_decrefp) json_t *request = NULL;
    cleanup(http_freep) struct http *http = NULL;
    struct failure failure = {};
    struct client client = {};
    struct args args;
    int used;

    assert_int_equal(http_new(server, &http, &failure), 0);
    client.http = http;
    if (parse(line, &args, &used, &failure) ||
        request_new(&client, &args, "quantize", &request, &failure))
        return strdup(failure.detail);
    return json_dumps(request, JSON_COMPACT | JSON_REAL_PRECISION(6) | JSON_ENCODE_ANY);
}

static void test_request(void **state) {
    static const struct {
        const char *line, *request;
    } cases[] = {
        {"org/m wikitext2 --wbits 4 --act-order",
         "{\"kind\":\"quantize\",\"model\":\"org/m\",\"dataset\":\"wikitext2\",\"wbits\":4,"
         "\"act_order\":true}"},
        {"m --eval none", "{\"kind\":\"quantize\",\"model\":\"m\",\"eval\":[]}"},
        {"m --eval ptb,file:x",
         "{\"kind\":\"quantize\",\"model\":\"m\",\"eval\":[\"ptb\",\"file:x\"]}"},
        {"m --percdamp 0.05 --private --priority -3 --name n --label a=b --label c=",
         "{\"kind\":\"quantize\",\"model\":\"m\",\"percdamp\":0.05,\"private\":true,"
         "\"priority\":-3,\"name\":\"n\",\"labels\":{\"a\":\"b\",\"c\":\"\"}}"},
        /* the daemon knows the limits, but a request has types */
        {"m --wbits 5", "{\"kind\":\"quantize\",\"model\":\"m\",\"wbits\":5}"},
        {"m --wbits four", "option '--wbits' takes a whole number, not 'four'"},
        {"m --wbits 4.5", "option '--wbits' takes a whole number, not '4.5'"},
        {"m --percdamp nan", "option '--percdamp' takes a number, not 'nan'"},
        {"m --label x", "option '--label' takes KEY=VALUE, not 'x'"},
        {"m --label =x", "option '--label' takes KEY=VALUE, not '=x'"},
        {"m\xff", "not UTF-8: 'm?'"},
        {"m --name \xff", "option '--name' is not UTF-8: '?'"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        cleanup(freep) char *text = request_of("http://host.invalid:1", cases[i].line);

        assert_string_equal(text, cases[i].request);
    }
}

static void expect_request(const char *server, const char *line, const char *format,
                           const char *dir) {
    cleanup(freep) char *text = request_of(server, line);
    cleanup(freep) char *expected = str_format(format, dir, dir);

    assert_string_equal(text, expected);
}

/* Paths from here, for a daemon of this machine that does not answer: no root is known. */
static void test_paths(void **state) {
    const char *here = "unix:/nowhere/socket", *there = "http://host.invalid:1";
    char dir[] = "/tmp/quantctl-test-XXXXXX";
    cleanup(freep) char *real = NULL;

    (void)state;
    assert_non_null(mkdtemp(dir));
    real = realpath(dir, NULL);
    assert_int_equal(chdir(dir), 0);
    assert_int_equal(setenv("HOME", dir, 1), 0);
    assert_true(mkdir("sub", 0700) == 0 && mkdir("a#b", 0700) == 0);
    expect_request(here, "./sub file:./sub",
                   "{\"kind\":\"quantize\",\"model\":\"%s/sub\",\"dataset\":\"file:%s/sub\"}",
                   real);
    expect_request(here, "../quantctl-none",
                   "cannot find '../quantctl-none': No such file or directory%.0s", "");
    expect_request(here, "~/sub file:~/a#b",
                   "{\"kind\":\"quantize\",\"model\":\"%s/sub\",\"dataset\":\"file:%s/a#b\"}",
                   real);
    expect_request(here, ". ./sub#text",
                   "{\"kind\":\"quantize\",\"model\":\"%s\",\"dataset\":\"file:%s/sub#text\"}",
                   real);
    expect_request(here, "m --eval file:./sub,ptb,../none",
                   "cannot find '../none': No such file or directory%.0s", "");
    expect_request(here, "sub file:sub",
                   "{\"kind\":\"quantize\",\"model\":\"sub\",\"dataset\":\"file:sub\"}%.0s", "");
    expect_request(here, "/x /y",
                   "{\"kind\":\"quantize\",\"model\":\"/x\",\"dataset\":\"file:/y\"}%.0s", "");
    expect_request(there, "./sub file:./sub",
                   "{\"kind\":\"quantize\",\"model\":\"./sub\",\"dataset\":\"file:./sub\"}%.0s",
                   "");
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(dir_remove(dir), 0);
}

static void test_exit_status(void **state) {
    (void)state;
    assert_int_equal(client_exit_status(-EINVAL), EXIT_USAGE);
    assert_int_equal(client_exit_status(-ECOMM), EXIT_DAEMON);
    assert_int_equal(client_exit_status(-EREMOTEIO), EXIT_DAEMON);
    assert_int_equal(client_exit_status(-ENOSPC), EXIT_LOCAL);
    assert_int_equal(client_exit_status(-EINTR), EXIT_DETACHED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options),     cmocka_unit_test(test_errors),
        cmocka_unit_test(test_too_many),    cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_request),     cmocka_unit_test(test_paths),
        cmocka_unit_test(test_exit_status),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
