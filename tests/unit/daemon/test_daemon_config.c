// SPDX-License-Identifier: Apache-2.0
#include "daemon/config/read.h"

#include "base/file.h"
#include "base/macros.h"
#include "base/str.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <syslog.h>

#include <cmocka.h>

static char file[] = "/tmp/quantd-test-XXXXXX";

static int make_file(void **state) {
    int fd = mkstemp(file);

    (void)state;
    return fd < 0 || close(fd);
}

static int remove_file(void **state) {
    (void)state;
    return unlink(file);
}

static void write_file(const char *text) {
    assert_int_equal(file_replace(file, text, strlen(text)), 0);
}

/* Both lists end with NULL; the first flag is the program's name. */
static int read_config(char *const *args, char *const *environment, struct config **ret_config,
                       struct failure *failure) {
    int n = 0;

    while (args[n])
        n++;
    return config_read(n, args, environment, ret_config, failure);
}

static char *const nothing[] = {NULL};

static void test_defaults(void **state) {
    cleanup(config_freep) struct config *config = NULL;
    char *args[] = {(char *)"quantd", NULL};
    struct failure failure;

    (void)state;
    assert_int_equal(read_config(args, nothing, &config, &failure), 0);
    assert_string_equal(config->state_dir, "/var/lib/quantd");
    assert_string_equal(config->jobs_dir, "/var/lib/quantd/jobs");
    assert_string_equal(config->cache_dir, "/var/cache/quantd");
    assert_int_equal(config->listen.n, 2);
    assert_string_equal(config->listen.at[0], "unix:/run/quantd/quantd.sock");
    assert_string_equal(config->listen.at[1], "127.0.0.1:7878");
    assert_int_equal(config->devices.n, 1);
    assert_string_equal(config->devices.at[0], "auto");
    assert_int_equal(config->log_level, LOG_INFO);
    assert_int_equal(config->idle_seconds, 60);
    assert_int_equal(config->owner_streams, 64);
    assert_int_equal(CPU_COUNT(&config->worker_cpus), 0);
    assert_int_equal(config->keep_days, 0);
    assert_int_equal(config->owner_jobs, 100);
    assert_int_equal(config->queue_limit, 1000);
    assert_int_equal(config->model_roots.n, 0);
}

/* Each source wins over the one before, and a list is replaced as a whole. */
static void test_order(void **state) {
    cleanup(config_freep) struct config *config = NULL;
    char *args[] = {(char *)"quantd",
                    (char *)"--listen=[::1]:5",
                    (char *)"--config",
                    file,
                    (char *)"--listen",
                    (char *)"127.0.0.1:6",
                    NULL};
    char *environment[] = {(char *)"QUANTD_LISTEN=unix:/env",
                           (char *)"QUANTD_MODEL_ROOT=/tmp,/usr",
                           (char *)"QUANTD_SERVER=elsewhere",
                           (char *)"QUANTD_IDLE_SECONDS=7",
                           (char *)"STATE_DIRECTORY=/srv/state:/srv/other",
                           NULL};
    struct failure failure;

    (void)state;
    write_file("# a comment\n[daemon]\nlisten = unix:/file\nmodel-root = /etc\n"
               "data-root = /etc\ndata-root = /usr\nidle-seconds = 9\nkeep-days = 30\nowner-jobs = "
               "0\nlog-level = debug\n");
    if (read_config(args, environment, &config, &failure))
        fail_msg("%s", failure.detail);
    assert_int_equal(config->listen.n, 2);
    assert_string_equal(config->listen.at[0], "[::1]:5");
    assert_string_equal(config->listen.at[1], "127.0.0.1:6");
    assert_int_equal(config->model_roots.n, 2);
    assert_string_equal(config->model_roots.at[1], "/usr");
    assert_int_equal(config->data_roots.n, 2);
    assert_int_equal(config->idle_seconds, 7);
    assert_int_equal(config->keep_days, 30);
    assert_int_equal(config->owner_jobs, 0);
    assert_int_equal(config->log_level, LOG_DEBUG);
    assert_string_equal(config->state_dir, "/srv/state");
}

/* Numbers and ranges; those that this process may not use do no harm beside one that it may. */
static void test_worker_cpus(void **state) {
    cleanup(config_freep) struct config *config = NULL;
    char *args[] = {(char *)"quantd", (char *)"--worker-cpus", NULL, NULL};
    char *environment[] = {NULL};
    struct failure failure = {};
    cpu_set_t allowed;
    char list[32];
    int mine = 0;

    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
    while (!CPU_ISSET(mine, &allowed))
        mine++;
    snprintf(list, sizeof(list), "%d,1019-1021,1023", mine);
    args[2] = list;
    if (read_config(args, environment, &config, &failure))
        fail_msg("%s", failure.detail);
    assert_int_equal(CPU_COUNT(&config->worker_cpus), 5);
    assert_true(CPU_ISSET(mine, &config->worker_cpus));
    assert_true(CPU_ISSET(1020, &config->worker_cpus));
    assert_false(CPU_ISSET(1022, &config->worker_cpus));
}

static void expect_refused(char *const *args, char *const *environment, const char *named) {
    struct config *config = NULL;
    struct failure failure = {};

    if (!read_config(args, environment, &config, &failure))
        fail_msg("not refused: %s", named);
    assert_null(config);
    if (!strstr(failure.detail, named))
        fail_msg("'%s' does not name '%s'", failure.detail, named);
}

static void test_bad_flags(void **state) {
    static const struct {
        const char *flag, *value, *named;
    } cases[] = {
        {"--nonsense", NULL, "--nonsense"},
        {"--", NULL, "'--'"},
        {"stray", NULL, "stray"},
        {"-h", NULL, "-h"},
        {"", NULL, "''"},
        {"--state-dir", NULL, "state-dir"},
        {"--state-dir=", NULL, "state-dir"},
        {"--help=yes", NULL, "help"},
        {"--listen", "nowhere", "nowhere"},
        {"--listen", ":80", ":80"},
        {"--listen", "host:99999", "99999"},
        {"--listen", "unix:relative", "unix:relative"},
        {"--device", "gpu", "gpu"},
        {"--device", "cuda:", "cuda:"},
        {"--device", "cuda:1x", "cuda:1x"},
        {"--model-root", "/does/not/exist", "/does/not/exist"},
        {"--data-root", "/etc/passwd", "/etc/passwd"},
        {"--log-level", "loud", "loud"},
        {"--idle-seconds", "-1", "-1"},
        {"--owner-streams", "many", "many"},
        {"--worker-cpus", "3-1", "3-1"},
        {"--worker-cpus", "0,1024", "0,1024"},
        {"--worker-cpus", "1023", "may use none"},
        {"--keep-days", "36501", "36501"},
        {"--owner-jobs", "many", "many"},
        {"--queue-limit", "1e3", "1e3"},
        {"--config", "/does/not/exist", "/does/not/exist"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char *args[] = {(char *)"quantd", (char *)cases[i].flag, (char *)cases[i].value, NULL};

        expect_refused(args, nothing, cases[i].named);
    }
}

static void test_devices(void **state) {
    char *twice[] = {(char *)"quantd", (char *)"--device=cpu", (char *)"--device=cpu", NULL};
    char *mixed[] = {(char *)"quantd", (char *)"--device=cpu", (char *)"--device=auto", NULL};

    (void)state;
    expect_refused(twice, nothing, "cpu");
    expect_refused(mixed, nothing, "auto");
}

static void test_bad_files(void **state) {
    static const struct {
        const char *text, *named;
    } cases[] = {
        {"[daemon]\nnonsense = 1\n", "nonsense"},
        {"[other]\nlisten = unix:/a\n", "other"},
        {"listen = unix:/a\n", "section"},
        {"[daemon]\nno equals sign\n", "line 2"},
        {"[daemon]\nhelp = yes\n", "help"},
        {"[daemon]\nconfig = /etc/x\n", "config"},
        {"[daemon]\nstate-dir =\n", "state-dir"},
        {"[daemon]\nmodel-root = /does/not/exist\n", "/does/not/exist"},
    };
    char *args[] = {(char *)"quantd", (char *)"--config", file, NULL};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        write_file(cases[i].text);
        expect_refused(args, nothing, cases[i].named);
    }
}

static void test_help_checks_nothing(void **state) {
    cleanup(config_freep) struct config *config = NULL;
    char *args[] = {(char *)"quantd", (char *)"--listen", (char *)"x", (char *)"--help", NULL};
    struct failure failure;

    (void)state;
    assert_int_equal(read_config(args, nothing, &config, &failure), 0);
    assert_true(config->help);
}

static void test_relative_state_dir(void **state) {
    cleanup(config_freep) struct config *config = NULL;
    char *args[] = {(char *)"quantd", (char *)"--state-dir", (char *)"here", NULL};
    struct failure failure;

    (void)state;
    assert_int_equal(read_config(args, nothing, &config, &failure), 0);
    assert_int_equal(config->state_dir[0], '/');
    assert_non_null(strstr(config->state_dir, "/here"));
}

static void note_option(void *ctx, const char *option) {
    strbuf_printf(ctx, "%s ", option);
}

static void test_compare(void **state) {
    cleanup(config_freep) struct config *a = NULL, *b = NULL;
    cleanup(strbuf_done) struct strbuf options = {};
    char *one[] = {(char *)"quantd", (char *)"--model-root=/tmp", (char *)"--disk-floor=1G",
                   (char *)"--state-dir=/srv", NULL};
    char *other[] = {(char *)"quantd",          (char *)"--model-root=/tmp",
                     (char *)"--disk-floor=2G", (char *)"--state-dir=/srv",
                     (char *)"--device=cpu",    NULL};
    char *more[] = {(char *)"HF_TOKEN=secret", (char *)"QUANTD_MIRROR=/tmp,/usr", NULL};
    struct failure failure;

    (void)state;
    assert_int_equal(read_config(one, nothing, &a, &failure), 0);
    config_compare(a, a, note_option, &options);
    assert_null(options.data);
    assert_int_equal(read_config(other, more, &b, &failure), 0);
    config_compare(a, b, note_option, &options);
    assert_string_equal(options.data, "device mirror hub-token-file disk-floor ");
}

/* The file that is named, else the credential of systemd; what it has counts, not its name. */
static void test_token_file(void **state) {
    cleanup(config_freep) struct config *named = NULL, *credential = NULL, *other = NULL;
    cleanup(strbuf_done) struct strbuf options = {};
    char folder[] = "/tmp/quantd-test-XXXXXX", path[64], variable[64];
    char *plain[] = {(char *)"quantd", (char *)"--listen=0.0.0.0:1", NULL};
    char *flags[] = {(char *)"quantd", (char *)"--token-file", path, NULL};
    char *environment[] = {variable, NULL};
    struct failure failure;

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/tokens", folder);
    snprintf(variable, sizeof(variable), "CREDENTIALS_DIRECTORY=%s", folder);
    assert_int_equal(read_config(plain, environment, &named, &failure), 0);
    assert_int_equal(named->n_tokens, 0);
    assert_string_equal(config_needs_token(named), "0.0.0.0:1");
    config_free(steal_ptr(named));
    assert_int_equal(read_config(flags, nothing, &named, &failure), -ENOENT);

    assert_int_equal(file_replace(path, "a read 0123456789-0123456789\n", 29), 0);
    assert_int_equal(read_config(flags, nothing, &named, &failure), 0);
    assert_int_equal(read_config(plain, environment, &credential, &failure), 0);
    assert_int_equal(named->n_tokens, 1);
    assert_null(config_needs_token(credential));
    config_compare(named, named, note_option, &options);
    assert_null(options.data);
    assert_int_equal(file_replace(path, "a admin 0123456789-0123456789\n", 30), 0);
    assert_int_equal(read_config(flags, nothing, &other, &failure), 0);
    config_compare(named, other, note_option, &options);
    assert_string_equal(options.data, "token-file ");

    assert_int_equal(file_replace(path, "a read\n", 7), 0);
    config_free(steal_ptr(other));
    assert_int_equal(read_config(flags, nothing, &other, &failure), -EINVAL);
    assert_string_equal(failure.code, "config_invalid");
    assert_int_equal(dir_remove(folder), 0);
}

/* What only this machine reaches needs no token. */
static void test_needs_token(void **state) {
    static const struct {
        const char *address;
        bool needed;
    } cases[] = {{"unix:/run/q", false},    {"127.0.0.1:1", false}, {"127.9.9.9:1", false},
                 {"localhost:1", false},    {"[::1]:1", false},     {"[::]:1", true},
                 {"128.0.0.1:1", true},     {"0.0.0.0:1", true},    {"10.127.0.0:1", true},
                 {"localhost.evil:1", true}};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        cleanup(config_freep) struct config *config = NULL;
        char *args[] = {(char *)"quantd", (char *)"--listen", (char *)cases[i].address, NULL};
        struct failure failure;

        assert_int_equal(read_config(args, nothing, &config, &failure), 0);
        assert_int_equal(config_needs_token(config) != NULL, cases[i].needed);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),           cmocka_unit_test(test_order),
        cmocka_unit_test(test_worker_cpus),        cmocka_unit_test(test_compare),
        cmocka_unit_test(test_token_file),         cmocka_unit_test(test_needs_token),
        cmocka_unit_test(test_bad_flags),          cmocka_unit_test(test_devices),
        cmocka_unit_test(test_bad_files),          cmocka_unit_test(test_help_checks_nothing),
        cmocka_unit_test(test_relative_state_dir),
    };

    return cmocka_run_group_tests(tests, make_file, remove_file);
}
