// SPDX-License-Identifier: Apache-2.0
/* The log, with a journal of this test's own behind it. */
#include "base/log/log.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log/journal.h"
#include "base/log/messages.h"
#include "base/macros.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* What the journal got last, and what stderr did. */
static struct {
    struct strbuf fields; /* a line for each */
    int n_fields, n_records;
    int r; /* what the journal answers */
} journal;

static int stderr_pipe[2], stderr_saved;

int journal_send(const struct iovec *fields, int n_fields) {
    strbuf_done(&journal.fields);
    journal.fields = (struct strbuf){};
    for (int i = 0; i < n_fields; i++) {
        strbuf_append(&journal.fields, fields[i].iov_base, fields[i].iov_len);
        strbuf_puts(&journal.fields, "\n");
    }
    journal.n_fields = n_fields;
    journal.n_records++;
    return journal.r;
}

/* stderr is a pipe, and JOURNAL_STREAM names it. */
static int setup(void **state) {
    char stream[64];
    struct stat st;

    (void)state;
    fflush(stderr);
    stderr_saved = dup(STDERR_FILENO);
    if (pipe2(stderr_pipe, O_NONBLOCK) || dup2(stderr_pipe[1], STDERR_FILENO) < 0 ||
        fstat(STDERR_FILENO, &st))
        return -1;
    snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    journal.n_records = journal.r = 0;
    log_set_level(LOG_INFO);
    log_open();
    return 0;
}

static int teardown(void **state) {
    (void)state;
    dup2(stderr_saved, STDERR_FILENO);
    close(stderr_saved);
    close(stderr_pipe[0]);
    close(stderr_pipe[1]);
    strbuf_done(&journal.fields);
    journal.fields = (struct strbuf){};
    unsetenv("JOURNAL_STREAM");
    log_open();
    return 0;
}

/* What has come to stderr since. */
static const char *written(void) {
    static char text[4096];
    ssize_t n = read(stderr_pipe[0], text, sizeof(text) - 1);

    text[n < 0 ? 0 : n] = '\0';
    return text;
}

static bool has_field(const char *field) {
    cleanup(freep) char *line = str_format("%s\n", field);
    const char *at = strstr(journal.fields.data, line);

    return at && (at == journal.fields.data || at[-1] == '\n');
}

static void test_fields(void **state) {
    (void)state;
    log_record(LOG_WARNING,
               LOG_FIELDS(MESSAGE_JOB_FAILED, .job = 7, .owner = "user", .device = "cuda:0",
                          .code = "disk_full", .request = "r-1", .has_layer = true, .layer = 0),
               "job %d failed", 7);
    assert_string_equal(written(), "");
    assert_int_equal(journal.n_records, 1);
    assert_true(has_field("MESSAGE=job 7 failed"));
    assert_true(has_field("PRIORITY=4"));
    assert_true(has_field("MESSAGE_ID=" MESSAGE_JOB_FAILED));
    assert_true(has_field("JOB_ID=7"));
    assert_true(has_field("OWNER=user"));
    assert_true(has_field("LAYER=0"));
    assert_true(has_field("DEVICE=cuda:0"));
    assert_true(has_field("ERROR_CODE=disk_full"));
    assert_true(has_field("REQUEST_ID=r-1"));
    assert_true(has_field("CODE_FILE=tests/unit/base/test_log.c"));
    assert_true(has_field("CODE_FUNC=test_fields"));
    assert_non_null(strstr(journal.fields.data, "\nCODE_LINE="));
    assert_int_equal(journal.n_fields, 12);

    log_info("no more");
    assert_true(has_field("MESSAGE=no more"));
    assert_int_equal(journal.n_fields, 5);
    log_debug("not at this level");
    assert_int_equal(journal.n_records, 2);
}

/* Text from outside stays within its field, in the journal and on a line. */
static void test_hostile(void **state) {
    static const char evil[] = "x\nPRIORITY=0\n_UID=0\n<0>y\xff\x1b[31m";
    int n;

    (void)state;
    log_record(LOG_INFO, LOG_FIELDS(.job = 1, .owner = evil, .code = ""), "job '%s'", evil);
    assert_int_equal(journal.n_fields, 7); /* an empty value is none */
    n = 0;
    for (const char *at = journal.fields.data; *at; at++)
        n += *at == '\n';
    assert_int_equal(n, 7);
    assert_true(has_field("OWNER=x?PRIORITY=0?_UID=0?<0>y??[31m"));
    assert_true(has_field("MESSAGE=job 'x?PRIORITY=0?_UID=0?<0>y??[31m'"));

    journal.r = -ENOENT;
    log_info("job '%s'", evil);
    assert_string_equal(written(), "<6>job 'x?PRIORITY=0?_UID=0?<0>y??[31m'\n");
}

static void test_long(void **state) {
    char text[3000];

    (void)state;
    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    log_record(LOG_INFO, LOG_FIELDS(.job = 1, .owner = text, .code = text), "%s", text);
    assert_true(has_field("JOB_ID=1"));
    assert_true(has_field("CODE_FUNC=test_long"));
    assert_null(strstr(journal.fields.data, "OWNER=")); /* no room: left out, not cut */
}

/* The variable outlives a redirection: then it is a line for people. */
static void test_another_stderr(void **state) {
    const char *text;

    (void)state;
    setenv("JOURNAL_STREAM", "1:1", 1);
    log_open();
    log_record(LOG_INFO, LOG_FIELDS(.job = 3), "hello");
    text = written();
    assert_int_equal(journal.n_records, 0);
    assert_non_null(strstr(text, "Z quantd: hello\n"));
    setenv("JOURNAL_STREAM", "garbage", 1);
    log_open();
    log_info("hello");
    assert_non_null(strstr(written(), "Z quantd: hello\n"));
}

/* Every id is in the catalog and the man page, and the catalog has no other. */
static void test_catalog(void **state) {
    static const char *const ids[] = {
        MESSAGE_JOB_STARTED, MESSAGE_JOB_ENDED,     MESSAGE_JOB_FAILED, MESSAGE_JOB_INTERRUPTED,
        MESSAGE_JOB_PAUSED,  MESSAGE_DEVICE_FAILED, MESSAGE_REFUSED,    MESSAGE_CONFIG_REFUSED,
    };
    cleanup(freep) char *path = str_format("%s/systemd/quantd.catalog", getenv("QUANTD_SOURCE"));
    cleanup(freep) char *page = str_format("%s/docs/man/quantd.8", getenv("QUANTD_SOURCE"));
    cleanup(freep) char *text = NULL, *man = NULL;
    size_t size, n = 0;

    (void)state;
    assert_int_equal(file_read(path, 1 << 20, &text, &size), 0);
    assert_int_equal(file_read(page, 1 << 20, &man, &size), 0);
    for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
        cleanup(freep) char *head = str_format("\n-- %s\nSubject: ", ids[i]);

        assert_int_equal(strlen(ids[i]), 32);
        assert_non_null(strstr(text, head));
        assert_non_null(strstr(man, ids[i]));
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(ids[i], ids[k]);
    }
    for (const char *at = text; (at = strstr(at, "\n-- ")); at++)
        n++;
    assert_int_equal(n, ARRAY_SIZE(ids));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_fields, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hostile, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long, setup, teardown),
        cmocka_unit_test_setup_teardown(test_another_stderr, setup, teardown),
        cmocka_unit_test(test_catalog),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
