// SPDX-License-Identifier: Apache-2.0
/*
 * The sets of a job share turns over the layers: each has the figures of a job of its own, and the
 * weights are brought once for all of them, or as often as the memory that is free demands. With
 * the name of a device as argument there instead of on the cpu.
 */
#include "tests/e2e/lab.h"

#include "base/file.h"
#include "kernels/registry.h"

#include <errno.h>
#include <stdio.h>

#define SET_A "file:long.txt"
#define SET_B "file:short.txt"
#define SET_C "file:other.txt"
#define ALL "'eval': ['" SET_A "', '" SET_B "', '" SET_C "'], 'batch': 3, 'seqlen': 64"
#define QUANTIZED "'wbits': 3, 'method': 'rtn', "
#define INFOS_MAX 24
#define ROUNDS_MAX 8

static const char *const names[] = {SET_A, SET_B, SET_C};

/* ---- a device that counts, and that has little free memory when it is asked for the n-th time */

static struct {
    struct backend_ops ops; /* what the job gets */
    const struct backend_ops *real;
    int n_stages, n_infos;
    int short_at; /* 0: never */
    size_t memory_free;
} device;

static int counted_stage(struct backend *b, struct span dst, const void *src, enum dtype dtype,
                         size_t n) {
    device.n_stages++;
    return device.real->stage(b, dst, src, dtype, n);
}

static void scripted_info(struct backend *b, struct backend_info *ret_info) {
    device.real->info(b, ret_info);
    if (++device.n_infos == device.short_at)
        ret_info->memory_free = device.memory_free;
}

static void script_device(struct lab *lab) {
    device.real = lab->backend->ops;
    device.ops = *device.real;
    device.ops.stage = counted_stage;
    device.ops.info = scripted_info;
    lab->backend->ops = &device.ops;
}

/* Some bytes of a text as a set of its own. */
static void cut(const struct lab *lab, const char *name, const char *text, size_t size) {
    cleanup(freep) char *path = lab_path(lab, "data/%s", name);

    assert_int_equal(file_replace(path, text, size), 0);
}

static int setup(void **state) {
    cleanup(freep) char *from = NULL, *text = NULL;
    struct lab *lab;
    size_t size;

    lab_setup(state);
    lab = *state;
    script_device(lab);
    from = lab_path(lab, "data/evaluation.txt");
    assert_int_equal(file_read(from, 1 << 20, &text, &size), 0);
    assert_true(size > 5000);
    cut(lab, "long.txt", text, 2500);
    cut(lab, "short.txt", text + 2500, 500);
    cut(lab, "other.txt", text + 3000, 1500);
    return 0;
}

/* ---- figures ---- */

/* What @result says of set @name; owned by the caller. */
static json_t *figures_of(const json_t *result, const char *name) {
    static const char *const kinds[] = {"perplexity", "baseline", "difference"};
    json_t *figures = json_object();

    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        json_t *value = json_object_get(json_object_get(result, kinds[i]), name);

        json_object_set_new(figures, kinds[i], value ? json_incref(value) : json_null());
    }
    return figures;
}

static void expect_same(const json_t *a, const json_t *b) {
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        cleanup(json_decrefp) json_t *x = figures_of(a, names[i]), *y = figures_of(b, names[i]);

        if (!json_equal(x, y))
            fail_msg("the figures of '%s' differ", names[i]);
        assert_true(json_is_object(json_object_get(x, "perplexity")));
    }
}

/* The figures of jobs of one set each; the last one's calls of stage() are counted. */
static json_t *run_alone(struct lab *lab, const char *what) {
    json_t *all = json_pack("{s:{} s:{} s:{}}", "perplexity", "baseline", "difference");

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        cleanup(freep) char *name = str_format("%zu-alone-%zu", strlen(what), i);
        cleanup(freep) char *request =
            str_format("{%s'eval': ['%s'], 'batch': 3, 'seqlen': 64}", what, names[i]);
        cleanup(json_decrefp) json_t *result = NULL;
        const char *kind;
        json_t *sets;

        device.n_stages = 0;
        result = lab_must(lab, name, NULL, request);
        json_object_foreach(all, kind, sets)
            json_object_update(sets, json_object_get(result, kind));
    }
    return all;
}

static void share(struct lab *lab, const char *what, const char *name) {
    cleanup(json_decrefp) json_t *alone = run_alone(lab, what);
    cleanup(freep) char *request = str_format("{%s" ALL "}", what);
    cleanup(json_decrefp) json_t *together = NULL;
    int stages = device.n_stages;

    assert_true(stages > 0);
    device.n_stages = 0;
    together = lab_must(lab, name, NULL, request);
    expect_same(alone, together);
    assert_int_equal(device.n_stages, stages);
    assert_int_equal(lab_count(lab, "eval.finished"), 3);
}

static void test_plain(void **state) {
    share(*state, "'kind': 'eval', ", "plain");
}

static void test_quantized(void **state) {
    share(*state, QUANTIZED, "quantized");
}

/*
 * Little memory is free whenever the device is asked: the job waits for more, or goes without
 * what takes it, and the figures are the same.
 */
static void test_little_memory(void **state) {
    struct lab *lab = *state;
    cleanup(json_decrefp) json_t *plenty = NULL;
    int stages, more = 0;

    device.n_stages = device.n_infos = 0;
    plenty = lab_must(lab, "plenty", NULL, "{" QUANTIZED ALL "}");
    stages = device.n_stages;
    assert_in_range(device.n_infos, 3, INFOS_MAX);
    device.memory_free = (size_t)260 << 20; /* 4 MiB that are no one's reserve */
    /* How often it is asked before depends on when the model is hashed: a round may miss the one.
     */
    for (int i = 0, n = device.n_infos; i < ROUNDS_MAX * n && (i % n || !more); i++) {
        int at = n - i % n;
        cleanup(freep) char *job = str_format("little-%d", i);
        cleanup(json_decrefp) json_t *result = NULL;
        struct failure failure = {};
        int r;

        device.n_stages = device.n_infos = 0;
        device.short_at = at;
        r = lab_run(lab, job, NULL, "{" QUANTIZED ALL "}", &result, &failure);
        device.short_at = 0;
        if (r) {
            assert_string_equal(failure.code, "device_memory");
            continue;
        }
        if (json_object_get(result, "no_difference"))
            continue;
        expect_same(plenty, result);
        more += device.n_stages > stages;
    }
    assert_true(more > 0);
}

/* Sets that were reported stay, whatever comes of the rest of their turn. */
static void test_cancelled(void **state) {
    cleanup(json_decrefp) json_t *whole = NULL, *resumed = NULL;
    struct failure failure = {};
    struct lab *lab = *state;
    json_t *result = NULL;

    whole = lab_must(lab, "whole", NULL, "{" QUANTIZED ALL "}");
    for (int at = 1; at <= 2; at++) {
        cleanup(freep) char *job = str_format("cancelled-%d", at);

        lab->stop_kind = "eval.finished";
        lab->stop_at = at;
        assert_int_equal(lab_run(lab, job, NULL, "{" QUANTIZED ALL "}", &result, &failure),
                         -ECANCELED);
        lab->stop_kind = NULL;
        resumed = lab_must(lab, job, NULL, "{" QUANTIZED ALL "}");
        assert_int_equal(lab_count(lab, "eval.found"), at);
        assert_int_equal(lab_count(lab, "eval.finished"), 3 - at);
        expect_same(whole, resumed);
        json_decref(steal_ptr(resumed));
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_quantized),
        cmocka_unit_test(test_little_memory),
        cmocka_unit_test(test_cancelled),
    };
    int r = lab_device(argc, argv);

    return r ? r : cmocka_run_group_tests(tests, setup, lab_teardown);
}
