// SPDX-License-Identifier: Apache-2.0
/*
 * Models and devices that are exchanged: a job ends in the bytes of one model, or in
 * model_changed. Bytes are changed far from the ends and the middle of a shard, in place.
 */
#include "daemon/pipeline/params/request.h"
#include "tests/e2e/lab.h"

#include "base/file.h"
#include "daemon/model/fingerprint/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define REQUEST "{'wbits': 4, 'groupsize': 128, 'nsamples': 4}"

/* ---- changing ---- */

/* Where an element of a matrix lies in its file; that of another expert than those at the ends. */
static off_t find_element(const char *shard) {
    cleanup(safetensors_freep) struct safetensors *file = NULL;
    struct failure failure = {};
    const struct tensor *t;

    assert_int_equal(safetensors_open(NULL, shard, &file, &failure), 0);
    t = safetensors_find(file, "model.layers.1.mlp.experts.3.up_proj.weight");
    assert_non_null(t);
    return (const unsigned char *)t->data - safetensors_mapping(file)->data + (off_t)(t->size / 4);
}

/* Makes 4096 bytes of a matrix of layer 1 others, or, done twice, the same again. */
static void flip(const char *shard) {
    off_t at = find_element(shard);
    int fd = open(shard, O_RDWR | O_CLOEXEC);
    unsigned char bytes[4096];

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, bytes, sizeof(bytes), at), sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] ^= i % 2 ? 0x80 : 0; /* the sign of each bf16 */
    assert_int_equal(pwrite(fd, bytes, sizeof(bytes), at), sizeof(bytes));
    close(fd);
}

/* Which of the demo's shards has layer 1. */
static char *shard_of(const char *model) {
    for (int i = 1; i <= 2; i++) {
        char *path = str_format("%s/model-%05d-of-00002.safetensors", model, i);
        cleanup(safetensors_freep) struct safetensors *file = NULL;

        assert_int_equal(safetensors_open(NULL, path, &file, NULL), 0);
        if (safetensors_find(file, "model.layers.1.mlp.experts.3.up_proj.weight"))
            return path;
        free(path);
    }
    fail_msg("no shard has layer 1");
    return NULL;
}

/* ---- running ---- */

/* An attempt that ends after its first layer. */
static void stop_after_layer(struct lab *lab, const char *job, const char *model) {
    struct failure failure = {};
    json_t *result = NULL;

    lab->stop_kind = "layer.finished";
    lab->stop_at = 1;
    assert_int_equal(lab_run(lab, job, model, REQUEST, &result, &failure), -ECANCELED);
    lab->stop_kind = NULL;
}

static void expect_same(struct lab *lab, const char *a, const char *b) {
    cleanup(json_decrefp) json_t *x = lab_digest(lab, a), *y = lab_digest(lab, b);

    assert_true(json_equal(x, y));
}

static void expect_anew(struct lab *lab, const char *words) {
    json_t *event;
    size_t i;

    assert_int_equal(lab_count(lab, "job.resumed"), 0);
    json_array_foreach(lab->events, i, event) {
        const json_t *data = json_object_get(event, "data");

        if (str_equal(json_string_value(json_object_get(event, "kind")), "job.warning") &&
            str_equal(json_string_value(json_object_get(data, "code")), "started_anew")) {
            assert_non_null(strstr(json_string_value(json_object_get(data, "detail")), words));
            return;
        }
    }
    fail_msg("no warning that the job was started anew");
}

/* ---- tests ---- */

/* Two models that differ in one place of one expert are two models. */
static void test_exchanged_between_attempts(void **state) {
    struct lab *lab = *state;
    cleanup(freep) char *model = lab_copy(lab, lab->demo, "exchanged");
    cleanup(freep) char *shard = shard_of(model);

    stop_after_layer(lab, "resumed", model);
    flip(shard);
    json_decref(lab_must(lab, "resumed", model, REQUEST));
    expect_anew(lab, "the model's files");
    json_decref(lab_must(lab, "undisturbed", model, REQUEST));
    expect_same(lab, "resumed", "undisturbed");
}

/* The same bytes in other files are the same model. */
static void test_copied_between_attempts(void **state) {
    struct lab *lab = *state;
    cleanup(freep) char *model = lab_copy(lab, lab->demo, "copied");
    cleanup(freep) char *again = NULL;

    json_decref(lab_must(lab, "whole", model, REQUEST));
    stop_after_layer(lab, "copied", model);
    assert_int_equal(dir_remove(model), 0);
    again = lab_copy(lab, lab->demo, "copied");
    json_decref(lab_must(lab, "copied", again, REQUEST));
    assert_int_equal(lab_count(lab, "job.resumed"), 1);
    expect_same(lab, "copied", "whole");
}

static const char *to_flip;
static int flips_at;

/* cancelled() is asked many times; the files change at one of them. */
static bool change_then_go_on(void *ctx) {
    (void)ctx;
    if (flips_at > 0 && --flips_at == 0)
        flip(to_flip);
    return false;
}

static int ignore_event(void *ctx, const char *kind, json_t *data) {
    (void)ctx;
    (void)kind;
    (void)data;
    return 0;
}

/* Runs the job by hand, with the shard changed at the @at-th time that the observer is asked. */
static int run_changing(struct lab *lab, const char *model, const char *shard, int at,
                        struct failure *failure) {
    struct pipeline_observer observer = {NULL, ignore_event, change_then_go_on};
    cleanup(json_decrefp) json_t *request =
        lab_json("{'model': 'm', 'dataset': 'file:calibration.txt', 'eval': ['" LAB_EVAL
                 "'], 'wbits': 4, 'nsamples': 8, 'seqlen': 128, 'batch': 2}");
    cleanup(freep) char *dir = lab_path(lab, "jobs/changing-%d", at);
    cleanup(params_freep) struct params *params = NULL;
    json_t *result = NULL;
    int r;

    assert_int_equal(params_parse(JOB_QUANTIZE, request, &params, failure), 0);
    assert_int_equal(dir_make(dir), 0);
    to_flip = shard;
    flips_at = at;
    r = pipeline_run(&(struct pipeline_job){.kind = JOB_QUANTIZE,
                                            .params = params,
                                            .model_dir = model,
                                            .dir = dir,
                                            .corpora = &lab->corpora,
                                            .observer = &observer},
                     lab->backend, &result, failure);
    json_decref(result);
    return r;
}

static void test_overwritten_while_running(void **state) {
    struct lab *lab = *state;
    cleanup(freep) char *model = lab_copy(lab, lab->demo, "overwritten");
    cleanup(freep) char *shard = shard_of(model);
    int n_failed = 0;

    /* At the begin, within layers and passes, and late; the last ones may come after the end. */
    for (int at = 1; at <= 41; at += 8) {
        struct failure failure = {};
        int r = run_changing(lab, model, shard, at, &failure);

        if (flips_at > 0) {
            assert_int_equal(r, 0);
            break;
        }
        assert_int_equal(r, -ESTALE);
        assert_string_equal(failure.code, "model_changed");
        assert_non_null(strstr(failure.detail, shard));
        n_failed++;
    }
    assert_true(n_failed >= 3);
}

/* What another library or processor made is not gone on with. */
/* A link that appeared after the job was checked: no job reads what is outside of its root. */
static void test_linked_away(void **state) {
    struct lab *lab = *state;
    cleanup(freep) char *model = lab_copy(lab, lab->demo, "linked");
    static const char *const names[] = {"generation_config.json", "tokenizer.json", "config.json",
                                        "model-00001-of-00002.safetensors"};
    cleanup(freep) char *none = str_format("%s/none", model);

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        cleanup(freep) char *path = str_format("%s/%s", model, names[i]);
        cleanup(freep) char *away = str_format("%s/%s", lab->demo, names[i]);
        cleanup(freep) char *kept = str_format("%s/kept", model);
        struct failure failure = {};

        assert_true(!rename(path, kept) || i == 0); /* the demo has no generation_config.json */
        assert_int_equal(symlink(i == 0 ? "/etc/passwd" : away, path), 0);
        assert_int_equal(run_changing(lab, model, none, 0, &failure), -EBADMSG);
        assert_string_equal(failure.code, "model_invalid");
        assert_non_null(strstr(failure.detail, names[i]));
        assert_non_null(strstr(failure.detail, "leads out"));
        assert_int_equal(unlink(path), 0);
        assert_true(!rename(kept, path) || i == 0);
    }
}

static void test_other_device(void **state) {
    static const char *const keys[] = {"device", "library", "version", "calibration"};
    struct lab *lab = *state;

    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        cleanup(freep) char *job = str_format("other-%zu", i);
        cleanup(freep) char *path = lab_path(lab, "jobs/%s/work/plan.json", job);
        cleanup(freep) char *text = NULL;
        cleanup(json_decrefp) json_t *plan = NULL;

        stop_after_layer(lab, job, NULL);
        plan = json_load_file(path, 0, NULL);
        assert_non_null(plan);
        json_object_set_new(json_object_get(plan, "settings"), keys[i], json_string("another"));
        text = json_text(plan, 0);
        assert_int_equal(file_replace(path, text, strlen(text)), 0);
        json_decref(lab_must(lab, job, NULL, REQUEST));
        expect_anew(lab, keys[i]);
    }
    json_decref(lab_must(lab, "same", NULL, REQUEST));
    expect_same(lab, "other-0", "same");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exchanged_between_attempts),
        cmocka_unit_test(test_copied_between_attempts),
        cmocka_unit_test(test_overwritten_while_running),
        cmocka_unit_test(test_linked_away),
        cmocka_unit_test(test_other_device),
    };

    return cmocka_run_group_tests(tests, lab_setup, lab_teardown);
}
