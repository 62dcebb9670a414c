// SPDX-License-Identifier: Apache-2.0
/* One daemon for a store; a lock that a killed one leaves for a moment keeps none away. */
#include "tests/unit/daemon/daemon_fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

static void test_second_daemon_refused(void **state) {
    struct fixture *f = *state;
    struct store *second = NULL;

    assert_int_equal(store_open(f->dir, &second, &f->failure), -EBUSY);
    assert_string_equal(f->failure.code, "store_locked");
    assert_null(second);
}

static void *close_soon(void *fd) {
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    close(*(int *)fd);
    return NULL;
}

static void test_lock_that_is_left_soon(void **state) {
    struct fixture *f = *state;
    cleanup(freep) char *path = str_format("%s/lock", f->dir);
    pthread_t thread;
    int fd;

    store_close(f->store);
    f->store = NULL;
    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    assert_int_equal(pthread_create(&thread, NULL, close_soon, &fd), 0);
    fixture_open(f);
    pthread_join(thread, NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_second_daemon_refused),
        TEST(test_lock_that_is_left_soon),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
