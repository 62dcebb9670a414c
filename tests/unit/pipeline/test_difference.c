// SPDX-License-Identifier: Apache-2.0
/* The figures of a difference against values that are worked out by hand. */
#include "daemon/pipeline/evaluate/difference.h"

#include "base/macros.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static double figure(const json_t *json, const char *name) {
    assert_true(json_is_number(json_object_get(json, name)));
    return json_number_value(json_object_get(json, name));
}

static void expect(const json_t *json, const char *name, double want) {
    double got = figure(json, name);

    if (!(fabs(got - want) <= 1e-7))
        fail_msg("%s is %.10g, not %.10g", name, got, want);
}

/* Two windows of three tokens, of which two are predicted. */
static void test_figures(void **state) {
    static const float base[2][2] = {{1, 2}, {0.5F, 1.5F}}, nll[2][2] = {{1.5F, 2.5F}, {0.5F, 1}};
    static const float kl[2][2] = {{0.1F, 0.3F}, {0, 0.4F}};
    static const int32_t base_best[2][2] = {{7, 8}, {9, 1}}, best[2][2] = {{7, 3}, {9, 1}};
    cleanup(difference_done) struct difference difference = {};
    cleanup(json_decrefp) json_t *json = NULL;
    double dp[] = {exp(-1.5) - exp(-1), exp(-2.5) - exp(-2), 0, exp(-1) - exp(-1.5)};

    (void)state;
    assert_int_equal(difference_init(&difference, 2, 3), 0);
    for (int i = 1; i >= 0; i--) {
        const struct predictions tokens = {base[i], nll[i], kl[i], base_best[i], best[i]};

        difference_add(&difference, i, &tokens);
    }
    assert_int_equal(difference_summarize(&difference, &json), 0);
    /* means of the windows: 0.5 and -0.25; so their deviation is 0.75 / sqrt(2) */
    expect(json, "log_ratio", 0.125);
    expect(json, "log_ratio_stderr", 0.75 / sqrt(2) / sqrt(2));
    expect(json, "kl_mean", 0.2);
    expect(json, "kl_stderr", 0);
    expect(json, "kl_p50", 0.2);
    expect(json, "kl_p90", 0.37);
    expect(json, "kl_p999", 0.3997);
    expect(json, "kl_max", 0.4);
    expect(json, "same_top", 0.75);
    expect(json, "same_top_stderr", 0.25);
    expect(json, "mean_dp", (dp[0] + dp[1] + dp[3]) / 4);
    expect(json, "rms_dp", sqrt((dp[0] * dp[0] + dp[1] * dp[1] + dp[3] * dp[3]) / 4));
    expect(json, "tokens", 4);
}

/* One window of one prediction has no error, and every percentile is its own. */
static void test_least(void **state) {
    static const float base = 1, nll = 3, kl = 0.25F;
    static const int32_t best = 1;
    const struct predictions tokens = {&base, &nll, &kl, &best, &best};
    cleanup(difference_done) struct difference difference = {};
    cleanup(json_decrefp) json_t *json = NULL;

    (void)state;
    assert_int_equal(difference_init(&difference, 1, 2), 0);
    difference_add(&difference, 0, &tokens);
    assert_int_equal(difference_summarize(&difference, &json), 0);
    expect(json, "log_ratio", 2);
    expect(json, "log_ratio_stderr", 0);
    expect(json, "kl_p50", 0.25);
    expect(json, "kl_max", 0.25);
    expect(json, "same_top", 1);
}

static void test_not_finite(void **state) {
    static const float good = 1, bad[] = {NAN, INFINITY};
    static const int32_t best = 1;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        const struct predictions kl = {&good, &good, &bad[i], &best, &best};
        const struct predictions nll = {&good, &bad[i], &good, &best, &best};
        cleanup(difference_done) struct difference difference = {};
        json_t *json = NULL;

        assert_int_equal(difference_init(&difference, 1, 2), 0);
        difference_add(&difference, 0, &kl);
        assert_int_equal(difference_summarize(&difference, &json), -ERANGE);
        difference_add(&difference, 0, &nll);
        assert_int_equal(difference_summarize(&difference, &json), -ERANGE);
        assert_null(json);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_figures),
        cmocka_unit_test(test_least),
        cmocka_unit_test(test_not_finite),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
