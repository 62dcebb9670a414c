// SPDX-License-Identifier: Apache-2.0
/* Opening devices by name, on machines with and without one. */
#include "kernels/registry.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_names(void **state) {
    static const char *const bad[] = {
        "", "gpu", "cuda", "cuda:", "cuda:x", "cuda:-1", "CPU", "cuda:99999999999999999999"};
    struct backend *b = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        struct failure failure = {};

        assert_int_equal(backend_open(bad[i], &b, &failure), -EINVAL);
        assert_string_equal(failure.code, "invalid_device");
        assert_null(b);
    }
}

static void test_cpu(void **state) {
    struct failure failure;
    struct backend *b;
    int n;

    (void)state;
    assert_int_equal(backend_count("cpu", &n), 0);
    assert_int_equal(n, 1);
    assert_int_equal(backend_count("tpu", &n), -EINVAL);
    assert_int_equal(backend_open("cpu", &b, &failure), 0);
    assert_string_equal(b->ops->name, "cpu");
    b->ops->close(b);
}

static void test_auto(void **state) {
    struct failure failure;
    struct backend *b;
    int n;

    (void)state;
    assert_int_equal(backend_count("cuda", &n), 0);
    assert_int_equal(backend_open("auto", &b, &failure), 0);
    if (n == 0)
        assert_string_equal(b->ops->name, "cpu");
    b->ops->close(b);
}

static void test_missing_device(void **state) {
    struct failure failure = {};
    struct backend *b = NULL;

    (void)state;
    assert_int_equal(backend_open("cuda:1000", &b, &failure), -ENODEV);
    assert_true(failure.detail[0] && failure.hint[0]);
    assert_null(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_cpu),
        cmocka_unit_test(test_auto),
        cmocka_unit_test(test_missing_device),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
