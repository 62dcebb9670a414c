// SPDX-License-Identifier: Apache-2.0
/* What a job saves, evaluated as a model, has the perplexity that the job reported. */
#include "tests/e2e/lab.h"

#include <math.h>
#include <stdio.h>

/* Pairs of every two settings occur somewhere. */
static const struct {
    const char *name, *request;
} jobs[] = {
    {"b4", "'wbits': 4"},
    {"b4-g128-act", "'wbits': 4, 'groupsize': 128, 'act_order': true"},
    {"b4-g64-sym-static", "'wbits': 4, 'groupsize': 64, 'sym': true, 'static_groups': true"},
    {"b4-g128-sym-act-static",
     "'wbits': 4, 'groupsize': 128, 'sym': true, 'act_order': true, 'static_groups': true"},
    {"b2-g64-act", "'wbits': 2, 'groupsize': 64, 'act_order': true"},
    {"b2-g128-sym", "'wbits': 2, 'groupsize': 128, 'sym': true"},
    {"b2-static", "'wbits': 2, 'static_groups': true"},
    {"b3-g64-act-static", "'wbits': 3, 'groupsize': 64, 'act_order': true, 'static_groups': true"},
    {"b3-sym-act", "'wbits': 3, 'sym': true, 'act_order': true"},
    {"b3-g128", "'wbits': 3, 'groupsize': 128"},
    {"b8-g64-sym-act", "'wbits': 8, 'groupsize': 64, 'sym': true, 'act_order': true"},
    {"b8-static", "'wbits': 8, 'static_groups': true, 'act_order': true"},
    {"b4-sequential", "'wbits': 4, 'groupsize': 128, 'true_sequential': true"},
    {"b3-mse-sequential", "'wbits': 3, 'mse': true, 'sym': true, 'true_sequential': true"},
    {"b3-hessian-g64-act-static",
     "'wbits': 3, 'groupsize': 64, 'grid': 'hessian', 'act_order': true, 'static_groups': true"},
    {"b3-refine-g64-act-static", "'wbits': 3, 'groupsize': 64, 'grid': 'hessian', 'refine': 2,"
                                 " 'act_order': true, 'static_groups': true"},
    {"b4-refine-sym", "'wbits': 4, 'groupsize': 32, 'sym': true, 'act_order': true, 'refine': 1"},
    {"b2-hessian-act", "'wbits': 2, 'grid': 'hessian', 'act_order': true"},
    {"b3-drift-g64-act", "'wbits': 3, 'groupsize': 64, 'act_order': true, 'drift': 1"},
    {"b3-drift-sequential", "'wbits': 3, 'groupsize': 64, 'act_order': true, 'static_groups': true,"
                            " 'true_sequential': true, 'drift': 0.5"},
    {"b4-nearest-g64", "'wbits': 4, 'groupsize': 64, 'nearest': true"},
    {"b3-nearest-sym-mse", "'wbits': 3, 'sym': true, 'mse': true, 'nearest': true"},
};

static void expect_near(const char *name, const json_t *a, const json_t *b, double tolerance) {
    double x = lab_perplexity(a), y = lab_perplexity(b);

    printf("%-24s %9.4f  saved %+.4f %%\n", name, x, 100 * (y / x - 1));
    if (!(fabs(y / x - 1) <= tolerance))
        fail_msg("%s: %.6g when saved, %.6g when read", name, x, y);
}

static json_t *evaluate_artifact(struct lab *lab, const char *job) {
    cleanup(freep) char *model = lab_path(lab, "jobs/%s/artifact", job);
    cleanup(freep) char *name = str_format("%s-read", job);

    return lab_must(lab, name, model, "{'kind': 'eval'}");
}

static void test_gptq(void **state) {
    struct lab *lab = *state;

    for (size_t i = 0; i < ARRAY_SIZE(jobs); i++) {
        cleanup(freep) char *request = str_format("{%s}", jobs[i].request);
        cleanup(json_decrefp) json_t *saved = lab_must(lab, jobs[i].name, NULL, request);
        cleanup(json_decrefp) json_t *read = evaluate_artifact(lab, jobs[i].name);

        expect_near(jobs[i].name, saved, read, 1e-6); /* the same codes and scales */
        assert_true(json_number_value(json_object_get(saved, "bits_per_weight")) > 2);
    }
}

static void test_dense(void **state) {
    static const char *const requests[][2] = {
        {"dense-b4", "{'wbits': 4, 'groupsize': 128, 'act_order': true, 'format': 'dense'}"},
        {"dense-b3", "{'wbits': 3, 'sym': true, 'format': 'dense', 'nearest': true}"},
    };
    struct lab *lab = *state;

    for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
        cleanup(json_decrefp) json_t *saved = lab_must(lab, requests[i][0], NULL, requests[i][1]);
        cleanup(json_decrefp) json_t *read = evaluate_artifact(lab, requests[i][0]);

        expect_near(requests[i][0], saved, read, 0.003);
        assert_true(json_is_null(json_object_get(saved, "bits_per_weight")));
        /* bf16 only, so it can be quantized again. */
        if (i == 0) {
            cleanup(freep) char *model = lab_path(lab, "jobs/%s/artifact", requests[i][0]);
            cleanup(json_decrefp) json_t *again =
                lab_must(lab, "dense-again", model, "{'wbits': 8, 'nearest': true}");

            expect_near("dense-again", saved, again, 0.01);
        }
    }
}

/* More bits are better, and none is best. */
static void test_order(void **state) {
    struct lab *lab = *state;
    cleanup(json_decrefp) json_t *plain = lab_must(lab, "plain", NULL, "{'wbits': 16}");
    cleanup(json_decrefp) json_t *eval = lab_must(lab, "eval", NULL, "{'kind': 'eval'}");
    cleanup(json_decrefp) json_t *b8 =
        lab_must(lab, "order-8", NULL, "{'wbits': 8, 'groupsize': 64}");
    cleanup(json_decrefp) json_t *b4 =
        lab_must(lab, "order-4", NULL, "{'wbits': 4, 'groupsize': 64}");
    cleanup(json_decrefp) json_t *b2 =
        lab_must(lab, "order-2", NULL, "{'wbits': 2, 'groupsize': 64}");

    expect_near("plain", plain, eval, 1e-9);
    expect_near("8 bits", plain, b8, 0.002);
    assert_true(lab_perplexity(b4) < lab_perplexity(b2));
    assert_true(lab_perplexity(plain) < lab_perplexity(b4));
    assert_false(lab_exists(lab, "plain", "artifact"));
    assert_true(json_is_null(json_object_get(plain, "bits_per_weight")));
    assert_int_equal(json_array_size(json_object_get(plain, "artifacts")), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gptq),
        cmocka_unit_test(test_dense),
        cmocka_unit_test(test_order),
    };

    return cmocka_run_group_tests(tests, lab_setup, lab_teardown);
}
