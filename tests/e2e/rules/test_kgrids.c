// SPDX-License-Identifier: Apache-2.0
/*
 * The grids of K types: the GGUF measures what the job measured, also after an interruption and by
 * way of an export; what cannot hold the grids says so. The demo's experts are 128 wide: their
 * down_proj is no K type.
 */
#include "tests/e2e/lab.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

#define WIDE "'rules': ['down_proj:wbits=8']"
#define BEST "'act_order': true, 'true_sequential': true, 'drift': 0.5, 'refine': 2, " WIDE

static void expect(double value, double expected, double tolerance) {
    if (!(fabs(value / expected - 1) <= tolerance))
        fail_msg("%.9g, not %.9g", value, expected);
}

static double perplexity(struct lab *lab, const char *job, const char *model, const char *request) {
    cleanup(json_decrefp) json_t *result = lab_must(lab, job, model, request);

    return lab_perplexity(result);
}

static double evaluate(struct lab *lab, const char *file) {
    cleanup(freep) char *model = lab_path(lab, "jobs/%s", file);
    cleanup(freep) char *job = str_format("eval-%s", file);

    for (char *c = job; *c; c++)
        *c = *c == '/' ? '-' : *c;
    return perplexity(lab, job, model, "{'kind': 'eval'}");
}

static void expect_same(const struct lab *lab, const char *a, const char *b) {
    cleanup(json_decrefp) json_t *x = lab_digest(lab, a), *y = lab_digest(lab, b);

    json_object_del(x, "quantd.json"); /* of another job */
    json_object_del(y, "quantd.json");
    json_object_del(x, "README.md");
    json_object_del(y, "README.md");
    assert_true(json_object_size(x) > 3);
    assert_true(json_equal(x, y));
}

static void check_type(struct lab *lab, const char *type, double bits) {
    cleanup(freep) char *gguf = str_format("%s", type), *dense = str_format("%s-dense", type);
    cleanup(freep) char *again = str_format("%s-again", type), *rtn = str_format("%s-rtn", type);
    cleanup(freep) char *file = str_format("%s/artifact/model.gguf", type);
    cleanup(freep) char *rounded = str_format("%s/artifact/model.gguf", rtn);
    cleanup(freep) char *from = lab_path(lab, "jobs/%s/artifact", dense);
    cleanup(freep) char *request = str_format("{'gguf_type': '%s', %s}", type, BEST);
    cleanup(freep) char *other =
        str_format("{'gguf_type': '%s', 'format': 'dense', %s}", type, BEST);
    cleanup(freep) char *nearest =
        str_format("{'gguf_type': '%s', 'method': 'rtn', %s}", type, WIDE);
    cleanup(json_decrefp) json_t *result = lab_must(lab, gguf, NULL, request), *export = NULL;
    double value = lab_perplexity(result);

    /* Of 28 parts q, k, v and o are 4, gate and up 16; down, which is Q8_0, is 8. */
    expect(json_number_value(json_object_get(result, "bits_per_weight")),
           (20 * bits + 8 * 8.5) / 28, 1e-12);
    assert_int_equal(lab_count(lab, "job.warning"), 0);
    expect(evaluate(lab, file), value, 1e-12);
    expect(perplexity(lab, dense, NULL, other), value, 1e-12);
    export = lab_must(lab, again, from, "{'kind': 'export', 'format': 'gguf'}");
    expect_same(lab, gguf, again);
    value = perplexity(lab, rtn, NULL, nearest);
    expect(evaluate(lab, rounded), value, 1e-12);
    lab_must_fail(lab, "no-gptq", from, "{'kind': 'export', 'format': 'gptq'}", "invalid_parameter",
                  "gptq cannot hold the grids of gguf_type");
}

static void test_types(void **state) {
    check_type(*state, "q2_k", 2.625);
    check_type(*state, "q3_k", 3.4375);
    check_type(*state, "q4_k", 4.5);
}

static void test_interrupted(void **state) {
    static const char request[] = "{'gguf_type': 'q2_k', " BEST "}";
    struct failure failure = {};
    struct lab *lab = *state;
    json_t *result = NULL;

    json_decref(lab_must(lab, "whole", NULL, request));
    lab->stop_kind = "layer.finished";
    lab->stop_at = 2;
    assert_int_equal(lab_run(lab, "stopped", NULL, request, &result, &failure), -ECANCELED);
    lab->stop_kind = NULL;
    json_decref(lab_must(lab, "stopped", NULL, request));
    assert_int_equal(lab_count(lab, "job.resumed"), 1);
    expect_same(lab, "whole", "stopped");
}

/* A matrix that is too narrow is said to be, and has the type that llama-quantize gives it. */
static void test_narrow(void **state) {
    struct lab *lab = *state;
    double value = perplexity(lab, "narrow", NULL, "{'gguf_type': 'q4_k'}");

    assert_int_equal(lab_count(lab, "job.warning"), 1);
    expect(evaluate(lab, "narrow/artifact/model.gguf"), value, 1e-12);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_interrupted),
        cmocka_unit_test(test_narrow),
    };

    return cmocka_run_group_tests(tests, lab_setup, lab_teardown);
}
