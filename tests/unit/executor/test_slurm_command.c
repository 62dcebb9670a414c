// SPDX-License-Identifier: Apache-2.0
/* Programs that answer, say too much, or hang. */
#include "daemon/executor/slurm/command.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/macros.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define LOOK_MS 500u

/* Runs @script for @seconds at most. Return: as command_step(). */
static int run(struct command *command, const char *script, const char *input, double seconds) {
    const char *const argv[] = {"/bin/sh", "-c", script, NULL};
    const char *const environment[] = {"PATH=/usr/bin:/bin", "MADE=here", NULL};
    struct failure failure;
    struct pollfd fds[2];
    int status = 0;

    assert_int_equal(command_start(command, argv, environment, input, seconds, &failure), 0);
    while (!command_step(command, &status))
        poll(fds, 2, MIN((unsigned)command_poll(command, fds), LOOK_MS));
    assert_int_equal(command->pid, 0);
    return status;
}

static void test_answers(void **state) {
    cleanup(command_done) struct command command = {};

    (void)state;
    setenv("FROM_OUTSIDE", "1", 1);
    assert_int_equal(
        run(&command, "cat; echo $MADE$FROM_OUTSIDE; echo wrong >&2; exit 7", "input\n", 60), 7);
    assert_string_equal(command.texts[0].data, "input\nhere\n");
    assert_string_equal(command.texts[1].data, "wrong\n");
}

/* It is killed with its children, which hold a pipe of ours. */
static void test_hangs(void **state) {
    cleanup(command_done) struct command command = {};
    struct pollfd end = {.events = POLLIN};
    int fds[2];

    (void)state;
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(run(&command, "echo 42; sleep 1000 & wait", "", 0.3), -1);
    assert_string_equal(command.texts[0].data, "42\n");
    close(fds[1]);
    end.fd = fds[0];
    assert_int_equal(poll(&end, 1, 60000), 1);
    assert_int_equal(end.revents, POLLHUP);
    close(fds[0]);
}

/* What a child of it still holds open is not waited for. */
static void test_leaves_a_child(void **state) {
    cleanup(command_done) struct command command = {};
    double began = clock_monotonic();

    (void)state;
    assert_int_equal(run(&command, "sleep 40 & exit 0", "", 60), 0);
    assert_true(clock_monotonic() - began < 30);
}

static void test_too_much(void **state) {
    cleanup(command_done) struct command command = {};

    (void)state;
    assert_int_equal(run(&command, "exec cat /dev/zero", "", 60), -1);
    assert_true(command.too_much);
    assert_true(command.texts[0].length <= COMMAND_OUTPUT_MAX);
}

static void test_ends_by_signal(void **state) {
    cleanup(command_done) struct command command = {};

    (void)state;
    assert_int_equal(run(&command, "kill -9 $$", "", 60), -1);
}

static void test_not_there(void **state) {
    const char *const argv[] = {"/nowhere/squeue", NULL}, *const environment[] = {NULL};
    cleanup(command_done) struct command command = {};
    struct failure failure;

    (void)state;
    assert_int_equal(command_start(&command, argv, environment, "", 60, &failure), -ENOENT);
    assert_non_null(strstr(failure.detail, "/nowhere/squeue"));
    assert_int_equal(command.pid, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),        cmocka_unit_test(test_hangs),
        cmocka_unit_test(test_leaves_a_child), cmocka_unit_test(test_too_much),
        cmocka_unit_test(test_ends_by_signal), cmocka_unit_test(test_not_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
