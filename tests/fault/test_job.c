// SPDX-License-Identifier: Apache-2.0
/*
 * Every call by which a job changes its folder fails in turn. The job must then fail with words
 * for it and leave no artifact or a whole one; run again, it gives the bytes of one that nothing
 * happened to.
 *
 * Usage: test_fault_job [all]; with all, those of dense, pt and gguf jobs too, else some of them
 */
#include "base/file.h"
#include "tests/e2e/lab.h"
#include "tests/fault/fault.h"

#include <errno.h>
#include <stdio.h>

#define REQUEST "{'wbits': 4, 'groupsize': 64, 'act_order': true, 'nsamples': 1, 'seqlen': 32}"
#define DENSE "{'wbits': 3, 'groupsize': 64, 'nsamples': 1, 'seqlen': 32, 'format': 'dense'}"
#define PT "{'wbits': 4, 'groupsize': 64, 'nsamples': 1, 'seqlen': 32, 'format': 'pt'}"
#define GGUF                                                                                       \
    "{'wbits': 4, 'groupsize': 32, 'sym': true, 'nsamples': 1, 'seqlen': 32, 'format': 'gguf'}"
#define EXPERTS 2
#define CALLS_MAX 2000

static bool all; /* as the command line says */

struct site {
    struct lab *lab;
    char *model;
};

/* The first layer and its first experts. */
static bool shrink(void *ctx, struct tensor *t, unsigned char *data, void **ret_data) {
    int layer, expert;

    (void)ctx;
    if (sscanf(t->name, "model.layers.%d.", &layer) == 1 && layer > 0)
        return false;
    if (sscanf(t->name, "model.layers.0.mlp.experts.%d.", &expert) == 1 && expert >= EXPERTS)
        return false;
    if (str_equal(t->name, "model.layers.0.mlp.gate.weight")) {
        t->n = t->n / t->shape[0] * EXPERTS;
        t->size = t->size / t->shape[0] * EXPERTS;
        t->shape[0] = EXPERTS;
        *ret_data = malloc(t->size);
        assert_non_null(*ret_data);
        memcpy(*ret_data, data, t->size);
    }
    return true;
}

static int setup(void **state) {
    static struct site site;
    cleanup(freep) char *text = NULL, *path = NULL;
    size_t size;

    site.lab = lab_open(NULL);
    site.model = lab_rewrite(site.lab, site.lab->demo, "small", shrink, NULL);
    lab_edit_json(site.model, "config.json", "num_hidden_layers", json_integer(1));
    lab_edit_json(site.model, "config.json", "num_experts", json_integer(EXPERTS));
    lab_edit_json(site.model, "config.json", "num_experts_per_tok", json_integer(1));
    path = lab_path(site.lab, "data/evaluation.txt");
    assert_int_equal(file_read(path, 1 << 20, &text, &size), 0);
    assert_int_equal(file_replace(path, text, 400), 0); /* a few windows do */
    *state = &site;
    return 0;
}

static int teardown(void **state) {
    struct site *site = *state;

    lab_free(site->lab);
    free(site->model);
    return 0;
}

static void expect_whole(struct site *site, const char *whole, const char *when) {
    cleanup(json_decrefp) json_t *a = lab_digest(site->lab, whole);
    cleanup(json_decrefp) json_t *b = lab_digest(site->lab, "fault");

    if (!json_equal(a, b))
        fail_msg("%s: the artifact is not that of job '%s'", when, whole);
}

/* Return: was call @n there to fail? */
static bool fail_at(struct site *site, const char *request, const char *whole, int n, int error,
                    bool stays) {
    cleanup(freep) char *dir = lab_path(site->lab, "jobs/fault"), *when = NULL;
    cleanup(json_decrefp) json_t *result = NULL;
    struct failure failure = {};
    int r;

    assert_true(dir_remove(dir) == 0 && dir_make(dir) == 0);
    fault_arm(dir, n, error, stays);
    r = lab_run(site->lab, "fault", site->model, request, &result, &failure);
    if (!fault_name()[0]) {
        fault_disarm();
        return false;
    }
    when = str_format("call %d (%s), %s%s", n, fault_name(),
                      error == ENOSPC ? "ENOSPC"
                      : error == EIO  ? "EIO"
                                      : "short",
                      stays ? " for good" : "");
    if (error == FAULT_SHORT && r)
        fail_msg("%s: the job failed: %s", when, failure.detail);
    if (error != FAULT_SHORT &&
        (r != -error || result ||
         !str_equal(failure.code, error == EIO ? "io_error" : "disk_full") || !failure.detail[0]))
        fail_msg("%s: the job returned %d %s '%s'", when, r, failure.code, failure.detail);
    if (lab_exists(site->lab, "fault", "artifact"))
        expect_whole(site, whole, when);
    fault_arm(dir, 0, 0, false);
    if (r)
        json_decref(lab_must(site->lab, "fault", site->model, request));
    fault_disarm();
    expect_whole(site, whole, when);
    if (lab_exists(site->lab, "fault", "work") || !lab_exists(site->lab, "fault", "result.json"))
        fail_msg("%s: the second attempt left work/, or no result", when);
    return true;
}

static void fail_everywhere(struct site *site, const char *request, const char *whole, int error,
                            bool stays, int step) {
    int n = 1;

    step = all ? 1 : step;
    if (!lab_exists(site->lab, whole, "artifact"))
        json_decref(lab_must(site->lab, whole, site->model, request));
    while (fail_at(site, request, whole, n, error, stays)) {
        n += step;
        assert_true(n < CALLS_MAX);
    }
    printf("%s: %d calls failed in turn, error %d\n", whole, (n - 1) / step, error);
}

static void test_disk_full_once(void **state) {
    fail_everywhere(*state, REQUEST, "whole", ENOSPC, false, 1);
}

static void test_disk_stays_full(void **state) {
    fail_everywhere(*state, REQUEST, "whole", ENOSPC, true, 4);
}

static void test_io_error(void **state) {
    fail_everywhere(*state, REQUEST, "whole", EIO, false, 1);
}

static void test_short_write(void **state) {
    fail_everywhere(*state, REQUEST, "whole", FAULT_SHORT, false, 3);
}

static void test_dense(void **state) {
    fail_everywhere(*state, DENSE, "whole-dense", ENOSPC, false, 2);
    fail_everywhere(*state, DENSE, "whole-dense", EIO, false, 5);
}

static void test_one_file(void **state) {
    fail_everywhere(*state, PT, "whole-pt", ENOSPC, false, 4);
    fail_everywhere(*state, PT, "whole-pt", FAULT_SHORT, false, 9);
    fail_everywhere(*state, GGUF, "whole-gguf", EIO, false, 20);
    if (!all)
        return;
    fail_everywhere(*state, PT, "whole-pt", EIO, false, 1);
    fail_everywhere(*state, GGUF, "whole-gguf", ENOSPC, false, 1);
    fail_everywhere(*state, GGUF, "whole-gguf", FAULT_SHORT, false, 1);
    fail_everywhere(*state, DENSE, "whole-dense", FAULT_SHORT, false, 1);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_disk_full_once), cmocka_unit_test(test_disk_stays_full),
        cmocka_unit_test(test_io_error),       cmocka_unit_test(test_short_write),
        cmocka_unit_test(test_dense),          cmocka_unit_test(test_one_file),
    };

    all = argc > 1 && str_equal(argv[1], "all");
    return cmocka_run_group_tests(tests, setup, teardown);
}
