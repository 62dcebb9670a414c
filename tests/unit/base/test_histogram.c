// SPDX-License-Identifier: Apache-2.0
#include "base/histogram.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_bounds(void **state) {
    static const struct histogram_bounds *const all[] = {&histogram_of_calls, &histogram_of_jobs,
                                                         &histogram_of_divergences};

    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_in_range(all[i]->n, 1, HISTOGRAM_BUCKETS_MAX);
        for (int b = 1; b < all[i]->n; b++)
            assert_true(all[i]->at[b] > all[i]->at[b - 1]);
    }
}

static void test_add(void **state) {
    static const struct {
        double seconds;
        int bucket;
    } cases[] = {{0, 0},
                 {-5, 0},
                 {NAN, 0},
                 {1, 0},
                 {1.0001, 1},
                 {86400, 13},
                 {86400.5, HISTOGRAM_BUCKETS_MAX},
                 {INFINITY, HISTOGRAM_BUCKETS_MAX}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct histogram histogram = {};
        struct histogram_copy copy;

        histogram_add(&histogram, &histogram_of_jobs, cases[i].seconds);
        copy = histogram_read(&histogram);
        for (int b = 0; b <= HISTOGRAM_BUCKETS_MAX; b++)
            assert_int_equal(copy.counts[b], b == cases[i].bucket);
        assert_true(copy.sum >= 0 && copy.sum <= 1e12);
    }
}

static void test_sum(void **state) {
    struct histogram histogram = {};

    (void)state;
    for (int i = 0; i < 1000; i++)
        histogram_add(&histogram, &histogram_of_calls, 0.0005);
    assert_true(fabs(histogram_read(&histogram).sum - 0.5) <= 1e-9);
    assert_int_equal(histogram_read(&histogram).counts[2], 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_add),
        cmocka_unit_test(test_sum),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
