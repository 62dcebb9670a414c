// SPDX-License-Identifier: Apache-2.0
/* Reading a run's files while it writes them, over a file system that shows them late. */
#include "daemon/executor/slurm/lines.h"

#include "base/macros.h"
#include "daemon/jobdir/line.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/quantd-lines-XXXXXX";
static char path[64];

/* Writes @size bytes at @offset of @name. */
static void put(const char *name, const void *data, size_t size, off_t offset) {
    char full[128];
    int fd;

    snprintf(full, sizeof(full), "%s/%s", dir, name);
    fd = open(full, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, data, size, offset), size);
    close(fd);
}

struct seen {
    char text[256]; /* the lines, each with a '/' behind it */
    int64_t end;
    int stop; /* what to return */
};

static int on_line(void *ctx, const char *line, size_t size, int64_t end) {
    struct seen *seen = ctx;
    size_t used = strlen(seen->text);

    snprintf(seen->text + used, sizeof(seen->text) - used, "%.*s/", (int)size, line);
    seen->end = end;
    return seen->stop;
}

static void test_whole_lines(void **state) {
    struct seen seen = {};

    (void)state;
    assert_int_equal(lines_read(path, 0, on_line, &seen), -ENOENT);
    put("events.n", "one\ntwo\nthr", 11, 0);
    assert_int_equal(lines_read(path, 0, on_line, &seen), 0);
    assert_string_equal(seen.text, "one/two/");
    assert_int_equal(seen.end, 8);
    put("events.n", "ee\n", 3, 11);
    assert_int_equal(lines_read(path, seen.end, on_line, &seen), 0);
    assert_string_equal(seen.text, "one/two/three/");
    /* a size that is older than what was read */
    assert_int_equal(lines_read(path, 1000, on_line, &seen), 0);
    assert_string_equal(seen.text, "one/two/three/");
    seen = (struct seen){.stop = -EINTR};
    assert_int_equal(lines_read(path, 0, on_line, &seen), -EINTR);
    assert_string_equal(seen.text, "one/");
    assert_int_equal(seen.end, 4);
}

/* A later page has arrived before an earlier one, which reads as zeros. */
static void test_hole(void **state) {
    struct seen seen = {};

    (void)state;
    put("events.n", "one\n", 4, 0);
    put("events.n", "rest\nthree\n", 11, 8);
    assert_int_equal(lines_read(path, 0, on_line, &seen), 0);
    assert_string_equal(seen.text, "one/");
    put("events.n", "two ", 4, 4);
    assert_int_equal(lines_read(path, seen.end, on_line, &seen), 0);
    assert_string_equal(seen.text, "one/two rest/three/");
    assert_int_equal(seen.end, 19);
}

static void test_too_long(void **state) {
    char *text = malloc(LINE_SIZE_MAX + 2);
    struct seen seen = {};

    (void)state;
    assert_non_null(text);
    memset(text, 'x', LINE_SIZE_MAX + 2);
    put("events.n", text, LINE_SIZE_MAX, 0);
    assert_int_equal(lines_read(path, 0, on_line, &seen), 0);
    put("events.n", text, LINE_SIZE_MAX + 2, 0);
    assert_int_equal(lines_read(path, 0, on_line, &seen), -EMSGSIZE);
    assert_string_equal(seen.text, "");
    free(text);
}

static void test_memory(void **state) {
    static const char *const logs[] = {
        "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=7.batch. Some of your processes "
        "may have been killed by the cgroup out-of-memory handler.\n",
        "slurmstepd: error: Detected 1 oom_kill event in StepId=7.batch.\n",
        "slurmstepd: error: Exceeded job memory limit\nslurmstepd: error: *** JOB 7 CANCELLED "
        "***\n",
    };
    static const char other[] = "slurmstepd: error: *** JOB 7 ON n1 CANCELLED ***\n";
    char line[64];

    (void)state;
    assert_false(lines_out_of_memory(dir, "n"));
    lines_last(dir, "n", line, sizeof(line));
    assert_string_equal(line, "");
    put("slurm.n.log", other, strlen(other), 0);
    assert_false(lines_out_of_memory(dir, "n"));
    lines_last(dir, "n", line, sizeof(line));
    assert_string_equal(line, "slurmstepd: error: *** JOB 7 ON n1 CANCELLED ***");
    for (size_t i = 0; i < ARRAY_SIZE(logs); i++) {
        char full[128];

        snprintf(full, sizeof(full), "%s/slurm.n.log", dir);
        assert_int_equal(unlink(full), 0);
        put("slurm.n.log", logs[i], strlen(logs[i]), 0);
        assert_true(lines_out_of_memory(dir, "n"));
    }
}

static void test_gained(void **state) {
    static const char text[] = "{\"kind\":\"run.started\",\"data\":{}}\n"
                               "{\"kind\":\"layer.finished\",\"data\":{}}\n";

    (void)state;
    assert_false(lines_gained(dir, "n", 100));
    put("events.n", text, strlen(text), 0);
    assert_false(lines_gained(dir, "n", 10));
    assert_true(lines_gained(dir, "n", (int64_t)strlen(text)));
}

static int clear(void **state) {
    static const char *const names[] = {"events.n", "slurm.n.log"};
    char full[128];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        snprintf(full, sizeof(full), "%s/%s", dir, names[i]);
        unlink(full);
    }
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_whole_lines, clear),
        cmocka_unit_test_teardown(test_hole, clear),
        cmocka_unit_test_teardown(test_too_long, clear),
        cmocka_unit_test_teardown(test_memory, clear),
        cmocka_unit_test_teardown(test_gained, clear),
    };
    int failed;

    if (!mkdtemp(dir))
        return EXIT_FAILURE;
    snprintf(path, sizeof(path), "%s/events.n", dir);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(dir);
    return failed;
}
