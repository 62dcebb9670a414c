// SPDX-License-Identifier: Apache-2.0
/* A prediction goes through what was measured, and keeps the order of what it is made of. */
#include "daemon/pipeline/bits/predict.h"

#include "base/macros.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void expect(double value, double expected) {
    if (!(fabs(value / expected - 1) < 1e-12))
        fail_msg("%.9g, not %.9g", value, expected);
}

static void test_points(void **state) {
    static const double sum[] = {0.4, 0.1, 0.03, 0.0006}, all[] = {0.5, 0.09, 0.025, 0.0003};
    struct prediction prediction;
    double before = 0;

    (void)state;
    prediction_make(sum, all, ARRAY_SIZE(sum), &prediction);
    for (size_t i = 0; i < ARRAY_SIZE(sum); i++)
        expect(prediction_at(&prediction, sum[i]), all[i]);
    expect(prediction_at(&prediction, 0.2), 0.09 * sqrt(0.5 / 0.09)); /* halfway, in logarithms */
    expect(prediction_at(&prediction, 0.0002), 0.0001);
    expect(prediction_at(&prediction, 0.8), 1);
    expect(1 + prediction_at(&prediction, 0), 1);
    for (double s = 1e-5; s < 2; s *= 1.1) {
        double kl = prediction_at(&prediction, s);

        assert_true(kl > before);
        before = kl;
    }
}

/* What is measured of almost nothing may have any order, or be nothing. */
static void test_no_curve(void **state) {
    static const double sum[] = {0.4, 0.1, 1e-9, 0}, all[] = {0.5, 0.09, 2e-9, -1e-9};
    static const double upside[] = {1e-9, 3e-9};
    struct prediction prediction;

    (void)state;
    prediction_make(sum, all, ARRAY_SIZE(sum), &prediction);
    assert_int_equal(prediction.n, 3);
    expect(prediction_at(&prediction, 0.4), 0.5);
    prediction_make(upside, upside, ARRAY_SIZE(upside), &prediction);
    assert_int_equal(prediction.n, 1);
    prediction_make(sum + 3, all + 3, 1, &prediction);
    expect(prediction_at(&prediction, 0.3), 0.3);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_points),
                                       cmocka_unit_test(test_no_curve)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
