// SPDX-License-Identifier: Apache-2.0
/* What a job reports while it runs: which events, in which order, with which figures. */
#include "tests/e2e/lab.h"

#include "base/file.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

static const char *kind_at(const struct lab *lab, size_t i) {
    return json_string_value(json_object_get(json_array_get(lab->events, i), "kind"));
}

static const json_t *data_at(const struct lab *lab, size_t i) {
    return json_object_get(json_array_get(lab->events, i), "data");
}

static const char *text_at(const struct lab *lab, size_t i, const char *key) {
    return json_string_value(json_object_get(data_at(lab, i), key));
}

/* The phases in the order of their events, with commas; owned by the caller. */
static char *phases(const struct lab *lab) {
    struct strbuf text = {};

    strbuf_puts(&text, "");
    for (size_t i = 0; i < json_array_size(lab->events); i++) {
        if (str_equal(kind_at(lab, i), "phase.started"))
            strbuf_printf(&text, "%s%s", text.length ? "," : "", text_at(lab, i, "phase"));
    }
    return strbuf_steal(&text);
}

static void expect_phases(const struct lab *lab, const char *expected) {
    cleanup(freep) char *text = phases(lab);

    assert_string_equal(text, expected);
}

/* Every progress event is of the phase that was announced last, within bounds, and no step back. */
static void check_progress(const struct lab *lab, double least_first) {
    const char *phase = NULL;
    double last = -1;
    int n = 0, n_rates = 0;

    for (size_t i = 0; i < json_array_size(lab->events); i++) {
        const json_t *data = data_at(lab, i), *eta = json_object_get(data, "eta_seconds");
        json_int_t layer = json_integer_value(json_object_get(data, "layer"));
        json_int_t layers = json_integer_value(json_object_get(data, "layers_total"));
        const json_t *rate = json_object_get(data, "tokens_per_second");
        double fraction = json_number_value(json_object_get(data, "fraction"));

        if (str_equal(kind_at(lab, i), "phase.started"))
            phase = text_at(lab, i, "phase");
        if (!str_equal(kind_at(lab, i), "progress"))
            continue;
        assert_string_equal(text_at(lab, i, "phase"), phase);
        if (!(fraction >= 0 && fraction <= 1 + 1e-9 && fraction >= last))
            fail_msg("fraction %.6f after %.6f in phase %s", fraction, last, phase);
        assert_true(json_is_null(eta) || (json_is_real(eta) && json_real_value(eta) >= -1e-6 &&
                                          isfinite(json_real_value(eta))));
        assert_true(json_is_null(rate) ||
                    (json_real_value(rate) > 0 && isfinite(json_real_value(rate))));
        n_rates += json_is_real(rate);
        assert_true(layer >= 0 && layer <= layers);
        assert_true(str_equal(phase, "load") ? layers == 0 || layers == 3 : layers == 3);
        if (!str_equal(phase, "load") && last <= 0)
            assert_true(fraction >= least_first);
        last = fraction;
        n++;
    }
    assert_true(n >= 3 && n_rates > 0);
}

/* The layers @first .. 2 are finished in order, once each, while quantizing or right after. */
static void check_layers(const struct lab *lab, int first) {
    bool quantizing = false;

    for (size_t i = 0; i < json_array_size(lab->events); i++) {
        const json_t *data = data_at(lab, i);

        if (str_equal(kind_at(lab, i), "phase.started"))
            quantizing = str_equal(text_at(lab, i, "phase"), "quantize");
        if (!str_equal(kind_at(lab, i), "layer.finished"))
            continue;
        assert_true(quantizing);
        assert_int_equal(json_integer_value(json_object_get(data, "layer")), first);
        assert_true(json_number_value(json_object_get(data, "seconds")) > 0);
        assert_int_equal(json_array_size(json_object_get(data, "matrices")), 4 + 3 * 16);
        first++;
    }
    assert_int_equal(first, 3);
}

static size_t index_of(const struct lab *lab, const char *kind) {
    for (size_t i = 0; i < json_array_size(lab->events); i++) {
        if (str_equal(kind_at(lab, i), kind))
            return i;
    }
    fail_msg("no event %s", kind);
    return 0;
}

static void test_gptq(void **state) {
    struct lab *lab = *state;
    cleanup(json_decrefp) json_t *result = NULL;
    const json_t *facts, *seconds;
    const char *phase;
    json_t *value;
    double sum = 0;

    result = lab_must(lab, "gptq", NULL, "{'wbits': 4, 'eval': ['" LAB_EVAL "', 'file:more.txt']}");
    expect_phases(lab, "load,calibrate,quantize,evaluate,export");
    check_progress(lab, 0);
    check_layers(lab, 0);
    assert_int_equal(index_of(lab, "phase.started"), 0);
    /* Once more when the model's fingerprint is known, if that came later than the rest. */
    assert_in_range(lab_count(lab, "facts"), 1, 2);
    assert_true(index_of(lab, "facts") < index_of(lab, "layer.finished"));
    assert_int_equal(lab_count(lab, "job.resumed"), 0);
    assert_int_equal(lab_count(lab, "eval.finished"), 2);
    assert_true(lab_count(lab, "eval.progress") >= 2);

    facts = data_at(lab, index_of(lab, "facts"));
    value = json_object_get(json_object_get(facts, "params"), "dataset_sha256");
    assert_int_equal(json_string_length(value), 64);
    value = json_object_get(json_object_get(facts, "params"), "seqlen");
    assert_int_equal(json_integer_value(value), 128);
    value = json_object_get(json_object_get(facts, "model"), "experts");
    assert_int_equal(json_integer_value(value), 16);

    seconds = json_object_get(result, "seconds");
    json_object_foreach((json_t *)seconds, phase, value) sum +=
        str_equal(phase, "total") ? 0 : json_real_value(value);
    assert_true(fabs(sum - json_real_value(json_object_get(seconds, "total"))) < 1e-6);
}

/* What an event says of a set is what the result says. */
static void test_evaluation(void **state) {
    struct lab *lab = *state;
    cleanup(json_decrefp) json_t *result = lab_must(
        lab, "evaluation", NULL, "{'kind': 'eval', 'eval': ['file:more.txt', '" LAB_EVAL "']}");
    static const char *const names[] = {"file:more.txt", LAB_EVAL};
    int n = 0, window = 0;

    expect_phases(lab, "load,evaluate");
    check_progress(lab, 0);
    assert_int_equal(lab_count(lab, "layer.finished"), 0);
    for (size_t i = 0; i < json_array_size(lab->events); i++) {
        const json_t *data = data_at(lab, i), *set;

        if (str_equal(kind_at(lab, i), "eval.progress")) {
            int now = (int)json_integer_value(json_object_get(data, "window"));
            int windows = (int)json_integer_value(json_object_get(data, "windows"));

            assert_string_equal(text_at(lab, i, "set"), names[n]);
            assert_true(now > window && now <= windows);
            window = now;
        }
        if (!str_equal(kind_at(lab, i), "eval.finished"))
            continue;
        set = json_object_get(json_object_get(result, "perplexity"), names[n]);
        assert_string_equal(text_at(lab, i, "set"), names[n]);
        assert_true(json_equal(json_object_get(data, "perplexity"), json_object_get(set, "value")));
        assert_true(json_equal(json_object_get(data, "stderr"), json_object_get(set, "stderr")));
        assert_int_equal(json_integer_value(json_object_get(set, "windows")), window);
        assert_int_equal(json_integer_value(json_object_get(set, "tokens")), window * 127);
        window = 0;
        n++;
    }
    assert_int_equal(n, 2);
}

static void test_nearest(void **state) {
    struct lab *lab = *state;

    json_decref(lab_must(lab, "nearest", NULL, "{'wbits': 4, 'nearest': true}"));
    expect_phases(lab, "load,quantize,evaluate,export");
    check_progress(lab, 0);
    check_layers(lab, 0);
}

static void test_nothing_measured(void **state) {
    struct lab *lab = *state;
    cleanup(json_decrefp) json_t *result =
        lab_must(lab, "unmeasured", NULL, "{'wbits': 4, 'eval': []}");

    expect_phases(lab, "load,calibrate,quantize,export");
    check_progress(lab, 0);
    assert_int_equal(json_object_size(json_object_get(result, "perplexity")), 0);
}

static void test_resumed(void **state) {
    struct failure failure = {};
    struct lab *lab = *state;
    cleanup(freep) char *record = lab_path(lab, "jobs/resumed/work/layer-002.json");
    json_t *result = NULL;

    lab->stop_kind = "layer.finished";
    lab->stop_at = 2;
    assert_int_equal(lab_run(lab, "resumed", NULL, "{'wbits': 4}", &result, &failure), -ECANCELED);
    lab->stop_kind = NULL;
    unlink(record); /* the last layer may have been on its way to the disk */
    json_decref(lab_must(lab, "resumed", NULL, "{'wbits': 4}"));
    expect_phases(lab, "load,calibrate,quantize,evaluate,export");
    assert_int_equal(lab_count(lab, "job.resumed"), 1);
    assert_int_equal(lab_count(lab, "layer.found"), 2);
    assert_true(index_of(lab, "layer.found") < index_of(lab, "job.resumed"));
    assert_true(index_of(lab, "job.resumed") < index_of(lab, "layer.finished"));
    check_layers(lab, 2);
    check_progress(lab, 0.3); /* what is done already counts */
}

/* An observer that cannot take an event stops the job with its reason. */
static void test_observer_fails(void **state) {
    static const char *const kinds[] = {"phase.started", "facts", "layer.finished",
                                        "eval.finished"};
    struct lab *lab = *state;

    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        struct failure failure = {};
        json_t *result = NULL;

        lab->fail_kind = kinds[i];
        assert_int_equal(lab_run(lab, "observer", NULL, "{'wbits': 4}", &result, &failure), -EIO);
        lab->fail_kind = NULL;
        assert_null(result);
        assert_true(failure.code[0] && failure.detail[0]);
        assert_false(lab_exists(lab, "observer", "artifact"));
    }
    json_decref(lab_must(lab, "observer", NULL, "{'wbits': 4}"));
}

static int setup(void **state) {
    cleanup(freep) char *path = NULL, *from = NULL, *text = NULL;
    size_t size;
    struct lab *lab;

    lab_setup(state);
    lab = *state;
    path = lab_path(lab, "data/more.txt");
    from = lab_path(lab, "data/calibration.txt");
    assert_int_equal(file_read(from, 1 << 20, &text, &size), 0);
    return file_replace(path, text, size);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gptq),    cmocka_unit_test(test_evaluation),
        cmocka_unit_test(test_nearest), cmocka_unit_test(test_nothing_measured),
        cmocka_unit_test(test_resumed), cmocka_unit_test(test_observer_fails),
    };

    return cmocka_run_group_tests(tests, setup, lab_teardown);
}
