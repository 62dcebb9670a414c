// SPDX-License-Identifier: Apache-2.0
/* Seconds by the jobs that have run: which of them count, and how they are scaled. */
#include "daemon/estimate/history.h"
#include "daemon/pipeline/methods/method.h"

#include "base/cleanup.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* A job of a model with 2 layers that calibrated with 4 windows and measured 10. */
#define RUN(device, method, parameters, quantize, evaluate)                                        \
    "{\"kind\": \"quantize\", \"device\": \"" device "\", \"params\": {\"method\": \"" method      \
    "\", \"wbits\": 4, \"nsamples\": 4, \"seqlen\": 64}, \"model\": {\"layers\": 2, "              \
    "\"hidden_size\": 8, \"parameters\": " #parameters "}, \"seconds\": {\"load\": 1, "            \
    "\"calibrate\": 1, \"quantize\": " #quantize ", \"evaluate\": " #evaluate                      \
    ", \"export\": 1}, \"perplexity\": {\"s\": {\"windows\": 10}}}"

static struct work_shape shape(void) {
    return (struct work_shape){.layers = 2,
                               .hidden_size = 8,
                               .parameters = 1000,
                               .seqlen = 64,
                               .calibration = 4,
                               .evaluation = 10,
                               .quantizes = true,
                               .method = &method_gptq};
}

static int ask(const char *runs_text, const struct work_shape *wanted, struct forecast *forecast,
               const char **ret_reason) {
    cleanup(json_decrefp) json_t *runs = json_loads(runs_text, 0, NULL);
    cleanup(json_decrefp) json_t *devices = json_pack("[ss]", "cuda:0", "cuda:1");

    assert_non_null(runs);
    return history_forecast(runs, devices, wanted, forecast, ret_reason);
}

static void test_same_job(void **state) {
    struct work_shape wanted = shape();
    struct forecast f;
    const char *reason;

    (void)state;
    assert_int_equal(ask("[" RUN("cuda:1", "gptq", 1000, 20, 5) "]", &wanted, &f, &reason), 0);
    assert_true(f.seconds > 27.999 && f.seconds < 28.001 && f.jobs == 1 && f.same_model);
}

/* Twice the windows to measure are twice the seconds of that phase alone. */
static void test_scales(void **state) {
    struct work_shape wanted = shape();
    struct forecast f;
    const char *reason;

    (void)state;
    wanted.evaluation = 20;
    assert_int_equal(ask("[" RUN("cuda:0", "gptq", 1000, 20, 5) "]", &wanted, &f, &reason), 0);
    assert_true(f.seconds > 32.999 && f.seconds < 33.001);
    wanted.evaluation = 0;
    wanted.quantizes = false; /* nothing to do but to read the model */
    assert_int_equal(ask("[" RUN("cuda:0", "gptq", 1000, 20, 5) "]", &wanted, &f, &reason), 0);
    assert_true(f.seconds == 0 && f.jobs == 0);
}

/* A model of another shape counts by its size, and only as long as there is none of the same. */
static void test_other_model(void **state) {
    struct work_shape wanted = shape();
    struct forecast f;
    const char *reason;

    (void)state;
    assert_int_equal(ask("[" RUN("cuda:0", "gptq", 2000, 40, 10) "]", &wanted, &f, &reason), 0);
    assert_true(f.seconds > 26.4 && f.seconds < 26.6 && !f.same_model);
    assert_int_equal(
        ask("[" RUN("cuda:0", "gptq", 2000, 400, 100) ", " RUN("cuda:0", "gptq", 1000, 20, 5) "]",
            &wanted, &f, &reason),
        0);
    assert_true(f.seconds > 27.999 && f.seconds < 28.001 && f.same_model);
}

static void test_unknown(void **state) {
    static const char *const damaged[] = {
        "[]", "[{}, 5, null, {\"device\": \"cuda:0\", \"params\": [], \"model\": 3}]",
        "[" RUN("cuda:0", "gptq", 0, 20, 5) "]", "[" RUN("cuda:0", "nosuch", 1000, 20, 5) "]",
        "[" RUN("cpu", "gptq", 1000, 20, 5) "]"};
    struct work_shape wanted = shape();
    struct forecast f;
    const char *reason;

    (void)state;
    for (size_t i = 0; i < sizeof(damaged) / sizeof(*damaged); i++) {
        reason = NULL;
        assert_int_equal(ask(damaged[i], &wanted, &f, &reason), -ENOENT);
        assert_non_null(strstr(reason, "quantized"));
    }
    /* Another method says how long measuring takes, not how long quantizing does. */
    assert_int_equal(ask("[" RUN("cuda:0", "rtn", 1000, 20, 5) "]", &wanted, &f, &reason), -ENOENT);
    wanted.quantizes = false;
    assert_int_equal(ask("[" RUN("cuda:0", "rtn", 1000, 20, 5) "]", &wanted, &f, &reason), 0);
    assert_true(f.seconds > 4.999 && f.seconds < 5.001);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_job),
        cmocka_unit_test(test_scales),
        cmocka_unit_test(test_other_model),
        cmocka_unit_test(test_unknown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
