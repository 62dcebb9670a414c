// SPDX-License-Identifier: Apache-2.0
/*
 * Matrices that differ by rules: every format gives back the weights that the job measured, also
 * after an interruption and by way of an export.
 */
#include "tests/e2e/lab.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

#define REQUEST                                                                                    \
    "{'wbits': 3, 'groupsize': 128, 'sym': true, 'act_order': true, 'static_groups': true, "       \
    "'true_sequential': true, 'format': '%s', 'rules': ["
/* q, k and v apart, experts apart, parts of an expert apart, plain ones among all of them. */
#define APART                                                                                      \
    REQUEST "'layers=0/q_proj:wbits=4,sym=false', 'layers=1/experts=0-2/down_proj:wbits=16', "     \
            "'experts=5/gate_proj:wbits=4,groupsize=64', 'layers=1-2/self_attn:wbits=16', "        \
            "'up_proj:method=rtn,wbits=8']}"
#define ALIKE                                                                                      \
    REQUEST "'self_attn:wbits=8', 'layers=2/down_proj:wbits=16', 'layers=0/up_proj:wbits=2']}"

static void expect(double value, double expected, double tolerance) {
    if (!(fabs(value / expected - 1) <= tolerance))
        fail_msg("%.9g, not %.9g", value, expected);
}

static double evaluate(struct lab *lab, const char *job) {
    cleanup(freep) char *model = lab_path(lab, "jobs/%s/artifact", job);
    cleanup(freep) char *name = str_format("%s-eval", job);
    cleanup(json_decrefp) json_t *result = lab_must(lab, name, model, "{'kind': 'eval'}");

    return lab_perplexity(result);
}

static double quantize(struct lab *lab, const char *job, const char *rules, const char *format) {
    cleanup(freep) char *request = NULL;
    cleanup(json_decrefp) json_t *result = NULL;
    struct strbuf text = {};

    /* "%s" of REQUEST stands for the format */
    for (const char *at = rules; *at; at++) {
        if (strncmp(at, "%s", 2) == 0)
            strbuf_puts(&text, format), at++;
        else
            strbuf_append(&text, at, 1);
    }
    request = strbuf_steal(&text);
    result = lab_must(lab, job, NULL, request);
    return lab_perplexity(result);
}

static void test_apart(void **state) {
    struct lab *lab = *state;
    double gptq = quantize(lab, "apart-gptq", APART, "gptq");

    assert_int_equal(lab_count(lab, "job.warning"), 1); /* vLLM cannot load it */
    expect(evaluate(lab, "apart-gptq"), gptq, 1e-12);
    expect(quantize(lab, "apart-ct", APART, "compressed-tensors"), gptq, 1e-12);
    expect(evaluate(lab, "apart-ct"), gptq, 1e-12);
    expect(quantize(lab, "apart-dense", APART, "dense"), gptq, 1e-12);
    expect(evaluate(lab, "apart-dense"), gptq, 1e-3); /* its points are rounded to bf16 */
}

static void test_gguf(void **state) {
    struct lab *lab = *state;
    cleanup(freep) char *model = lab_path(lab, "jobs/alike-gguf/artifact");
    cleanup(json_decrefp) json_t *result = NULL;
    double gguf = quantize(lab, "alike-gguf", ALIKE, "gguf");

    result = lab_must(lab, "alike-again", model, "{'kind': 'export', 'format': 'gptq'}");
    expect(evaluate(lab, "alike-again"), gguf, 1e-12);
    expect(quantize(lab, "alike-gptq", ALIKE, "gptq"), gguf, 1e-12);
    lab_must_fail(lab, "apart-gguf", NULL,
                  "{'wbits': 4, 'groupsize': 32, 'sym': true, 'format': 'gguf', "
                  "'rules': ['experts=1/down_proj:wbits=8']}",
                  "invalid_parameter", "experts of layer 0 that differ in down_proj");
}

/* What an event of the last run says. */
static json_t *event(const struct lab *lab, const char *kind) {
    json_t *one;
    size_t i;

    json_array_foreach(lab->events, i, one) {
        if (str_equal(json_string_value(json_object_get(one, "kind")), kind))
            return json_object_get(one, "data");
    }
    fail_msg("there is no %s", kind);
    return NULL;
}

/* The choice keeps to the budget, is what the job does, and is made once. */
static void test_target(void **state) {
    struct lab *lab = *state;
    static const char request[] = "{'target_bits': 3, 'groupsize': 128}";
    cleanup(json_decrefp) json_t *result = NULL, *whole = NULL, *resumed = NULL;
    struct failure failure = {};
    json_t *unit, *chosen;
    size_t i;

    result = lab_must(lab, "target", NULL, request);
    whole = lab_digest(lab, "target");
    expect(evaluate(lab, "target"), lab_perplexity(result), 1e-12);
    chosen = json_object_get(json_object_get(result, "plan"), "chosen");
    assert_true(json_number_value(json_object_get(chosen, "bits")) <= 3);
    expect(json_number_value(json_object_get(result, "bits_per_weight")),
           json_number_value(json_object_get(chosen, "bits_per_weight")), 1e-12);

    lab->stop_kind = "layer.finished";
    lab->stop_at = 1;
    assert_int_equal(lab_run(lab, "target-stopped", NULL, request, &resumed, &failure), -ECANCELED);
    json_array_foreach(json_object_get(event(lab, "plan.finished"), "units"), i, unit) {
        json_t *kl = json_object_get(unit, "kl");

        /* Fewer bits cost more, far beyond chance. */
        assert_true(json_number_value(json_object_get(kl, "2")) >
                    2 * json_number_value(json_object_get(kl, "4")));
        assert_true(json_number_value(json_object_get(kl, "4")) >
                    2 * json_number_value(json_object_get(kl, "8")));
    }
    assert_int_equal(i, 9);
    lab->stop_at = 0;
    json_decref(result);
    result = lab_must(lab, "target-stopped", NULL, request);
    assert_int_equal(lab_count(lab, "plan.finished"), 0);
    resumed = lab_digest(lab, "target-stopped");
    assert_true(json_equal(whole, resumed));
}

/* One measurement has a choice for each target, of which more bits are never worse. */
static void test_plan(void **state) {
    struct lab *lab = *state;
    cleanup(json_decrefp) json_t *result = NULL;
    json_t *plan, *point;
    double kl = INFINITY;
    size_t i;

    result = lab_must(lab, "plan", NULL,
                      "{'plan_bits': [4, 4.5, 5.3, 8], 'plan_only': true, 'format': 'gguf', "
                      "'sym': true, 'groupsize': 32}");
    assert_false(lab_exists(lab, "plan", "artifact"));
    /* In gguf each kind is by itself, and 2 and 3 bits take what 4 bits do. */
    assert_int_equal(json_array_size(json_object_get(event(lab, "plan.finished"), "units")), 21);
    plan = json_object_get(result, "plan");
    assert_int_equal(json_array_size(json_object_get(plan, "curve")), 5);
    json_array_foreach(json_object_get(plan, "targets"), i, point) {
        double bits = json_number_value(json_object_get(point, "bits"));

        assert_true(bits <= json_number_value(json_object_get(point, "target_bits")));
        assert_true(json_number_value(json_object_get(point, "kl")) < kl);
        kl = json_number_value(json_object_get(point, "kl"));
    }
    assert_int_equal(i, 4);
    assert_true(
        json_equal(json_object_get(json_array_get(json_object_get(plan, "targets"), 0), "rules"),
                   json_object_get(plan, "rules")));
}

/* Experts by themselves: the budget is used up, the rules say so, and vLLM is spoken of. */
static void test_experts(void **state) {
    struct lab *lab = *state;
    static const char request[] =
        "{'target_bits': 2.5, 'target_unit': 'expert', 'groupsize': 128, 'eval': []}";
    cleanup(json_decrefp) json_t *result = NULL;
    json_t *unit, *chosen, *plan;
    double apart = 0;
    size_t i;

    result = lab_must(lab, "experts", NULL, request);
    plan = event(lab, "plan.finished");
    assert_int_equal(lab_count(lab, "job.warning"), 1);
    assert_non_null(strstr(json_string_value(json_object_get(plan, "warning")), "vLLM"));
    chosen = json_object_get(plan, "chosen");
    expect(json_number_value(json_object_get(chosen, "bits")), 2.5, 1e-2);
    assert_true(json_number_value(json_object_get(chosen, "bits")) <= 2.5);
    expect(json_number_value(json_object_get(result, "bits_per_weight")),
           json_number_value(json_object_get(chosen, "bits_per_weight")), 1e-12);
    json_array_foreach(json_object_get(plan, "units"), i, unit) {
        json_t *experts = json_object_get(unit, "experts");

        if (!experts)
            continue;
        assert_true(json_is_null(json_object_get(unit, "wbits")));
        assert_int_equal(json_integer_value(json_object_get(experts, "2")) +
                             json_integer_value(json_object_get(experts, "3")) +
                             json_integer_value(json_object_get(experts, "4")) +
                             json_integer_value(json_object_get(experts, "8")),
                         16);
        apart += json_integer_value(json_object_get(experts, "2")) % 16 > 0;
    }
    assert_int_equal(i, 21);
    assert_true(apart > 0);
}

static void test_target_refused(void **state) {
    struct lab *lab = *state;

    lab_must_fail(lab, "low", NULL,
                  "{'target_bits': 3.5, 'format': 'gguf', 'sym': true, "
                  "'groupsize': 32}",
                  "invalid_parameter", "must be from 4 to 8");
    lab_must_fail(lab, "lower", NULL,
                  "{'plan_bits': [5, 3.5], 'plan_only': true, 'format': 'gguf', 'sym': true, "
                  "'groupsize': 32}",
                  "invalid_parameter", "must be from 4 to 8");
    lab_must_fail(lab, "expert-gguf", NULL,
                  "{'target_bits': 5, 'target_unit': 'expert', 'format': 'gguf', 'sym': true, "
                  "'groupsize': 32}",
                  "invalid_parameter", "experts of layer 0 that differ");
    lab_must_fail(lab, "kind-vllm", NULL,
                  "{'target_bits': 5, 'target_unit': 'kind', 'for': 'vllm', 'sym': true, "
                  "'groupsize': 32}",
                  "invalid_parameter", "vLLM holds");
}

/* The bytes of an undisturbed run. */
static void test_resume(void **state) {
    struct lab *lab = *state;
    cleanup(json_decrefp) json_t *whole = NULL, *resumed = NULL;
    cleanup(json_decrefp) json_t *result = NULL;
    static const char request[] =
        "{'wbits': 3, 'groupsize': 128, 'nearest': true, 'rules': ['layers=1/q_proj:wbits=16', "
        "'experts=1-3:wbits=4']}";
    struct failure failure = {};

    result = lab_must(lab, "whole", NULL, request);
    whole = lab_digest(lab, "whole");
    lab->stop_kind = "layer.finished";
    lab->stop_at = 2;
    assert_int_equal(lab_run(lab, "stopped", NULL, request, &resumed, &failure), -ECANCELED);
    lab->stop_at = 0;
    json_decref(result);
    result = lab_must(lab, "stopped", NULL, request);
    assert_int_equal(lab_count(lab, "job.resumed"), 1);
    resumed = lab_digest(lab, "stopped");
    assert_true(json_equal(whole, resumed));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_apart),   cmocka_unit_test(test_gguf),
        cmocka_unit_test(test_target),  cmocka_unit_test(test_plan),
        cmocka_unit_test(test_experts), cmocka_unit_test(test_target_refused),
        cmocka_unit_test(test_resume),
    };

    return cmocka_run_group_tests(tests, lab_setup, lab_teardown);
}
