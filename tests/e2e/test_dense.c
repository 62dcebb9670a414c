// SPDX-License-Identifier: Apache-2.0
/* A dense job writes its layers while later ones are computed, and goes on from them. */
#include "tests/e2e/lab.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define DENSE "{'wbits': 3, 'groupsize': 64, 'format': 'dense'}"

static int setup(void **state) {
    lab_setup(state);
    json_decref(lab_must(*state, "whole", NULL, DENSE));
    return 0;
}

/* The bytes of @job are those of the job that was not stopped. */
static void expect_whole(const struct lab *lab, const char *job) {
    cleanup(json_decrefp) json_t *whole = lab_digest(lab, "whole"), *digest = lab_digest(lab, job);

    if (!json_equal(whole, digest))
        fail_msg("the artifact of job %s is another one", job);
    assert_false(lab_exists(lab, job, "work"));
}

/* The inode of @name in the folder of @job. */
static ino_t inode_of(const struct lab *lab, const char *job, const char *name) {
    cleanup(freep) char *path = lab_path(lab, "jobs/%s/%s", job, name);
    struct stat st;

    if (stat(path, &st))
        fail_msg("'%s' is not there", path);
    return st.st_ino;
}

/* Stops a dense job after two layers. */
static void stop_dense(struct lab *lab, const char *job) {
    struct failure failure = {};
    json_t *result = NULL;

    lab->stop_kind = "layer.finished";
    lab->stop_at = 2;
    assert_int_equal(lab_run(lab, job, NULL, DENSE, &result, &failure), -ECANCELED);
    lab->stop_kind = NULL;
}

/* A dense layer is written when it was computed, and once: its files become those of the result. */
static void test_dense_streams(void **state) {
    struct lab *lab = *state;
    ino_t weights, codes;

    stop_dense(lab, "streams");
    weights = inode_of(lab, "streams", "work/layer-001.weights.safetensors");
    codes = inode_of(lab, "streams", "work/layer-001.safetensors");
    json_decref(lab_must(lab, "streams", NULL, DENSE));
    assert_in_range(lab_count(lab, "layer.found"), 2, 3);
    assert_int_equal(inode_of(lab, "streams", "artifact/model-00002-of-00004.safetensors"),
                     weights);
    assert_int_equal(inode_of(lab, "streams", "codes/model-00002-of-00004.safetensors"), codes);
    expect_whole(lab, "streams");
}

/* A layer counts when all of its files are there and whole. */
static void test_damaged_dense(void **state) {
    static const long sizes[] = {1000, 0, -1 /* gone */};
    struct lab *lab = *state;

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        cleanup(freep) char *job = str_format("damaged-dense-%zu", i);
        cleanup(freep) char *path =
            lab_path(lab, "jobs/%s/work/layer-001.weights.safetensors", job);

        stop_dense(lab, job);
        assert_int_equal(sizes[i] < 0 ? unlink(path) : truncate(path, sizes[i]), 0);
        json_decref(lab_must(lab, job, NULL, DENSE));
        assert_int_equal(lab_count(lab, "layer.finished"), 2);
        expect_whole(lab, job);
    }
}

/* With the weights of the job gone, the codes give the same bytes. */
static void test_exported(void **state) {
    cleanup(json_decrefp) json_t *whole = NULL, *digest = NULL;
    struct lab *lab = *state;
    cleanup(freep) char *job = lab_path(lab, "jobs/whole/artifact");
    const char *name;
    json_t *hash;

    json_decref(lab_must(lab, "exported", job, "{'kind': 'export', 'format': 'dense'}"));
    whole = lab_digest(lab, "whole");
    digest = lab_digest(lab, "exported");
    json_object_foreach(whole, name, hash) {
        if (strstr(name, ".safetensors") && !json_equal(hash, json_object_get(digest, name)))
            fail_msg("'%s' is another one when it is made of the codes", name);
    }
}

/* A byte in the middle of the file @name of job whole is another one, or is as it was again. */
static void flip(const struct lab *lab, const char *name) {
    cleanup(freep) char *path = lab_path(lab, "jobs/whole/%s", name);
    FILE *file = fopen(path, "r+");
    long at = 70000;
    int byte;

    assert_non_null(file);
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    byte = fgetc(file);
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    assert_int_equal(fputc(byte ^ 1, file), byte ^ 1);
    assert_int_equal(fclose(file), 0);
}

/* A text of job whole gets a blank at its end, which no parser minds; or loses it. */
static void extend(const struct lab *lab, const char *name, bool undo) {
    cleanup(freep) char *path = lab_path(lab, "jobs/whole/%s", name);
    FILE *file = fopen(path, "a");

    assert_non_null(file);
    if (undo)
        assert_int_equal(ftruncate(fileno(file), ftell(file) - 1), 0);
    else
        assert_int_equal(fputc(' ', file), ' ');
    assert_int_equal(fclose(file), 0);
}

static void must_not_export(struct lab *lab, const char *damaged) {
    cleanup(freep) char *job = lab_path(lab, "jobs/whole/artifact");

    lab_must_fail(lab, "not-exported", job, "{'kind': 'export', 'format': 'gptq'}",
                  "folder_damaged", damaged);
}

/* What an export reads of the job must be what this job has written. */
static void test_export_of_damaged(void **state) {
    static const char *const weights[] = {"codes/model-00002-of-00004.safetensors",
                                          "codes/model-00004-of-00004.safetensors"};
    static const char *const texts[] = {"codes/config.json", "artifact/tokenizer.json",
                                        "artifact/quantd.json"};
    struct lab *lab = *state;
    cleanup(freep) char *job = lab_path(lab, "jobs/whole/artifact");

    for (size_t i = 0; i < ARRAY_SIZE(weights); i++) {
        flip(lab, weights[i]);
        must_not_export(lab, weights[i]);
        flip(lab, weights[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        extend(lab, texts[i], false);
        must_not_export(lab, texts[i]);
        extend(lab, texts[i], true);
    }
    /* It does not read the weights, only the codes. */
    flip(lab, "artifact/model-00001-of-00004.safetensors");
    json_decref(lab_must(lab, "export-of-whole", job, "{'kind': 'export', 'format': 'gptq'}"));
    flip(lab, "artifact/model-00001-of-00004.safetensors");
}

/* Records of layers that an earlier version wrote lack the hashes of codes: they are read again. */
static void test_record_without_hash(void **state) {
    struct lab *lab = *state;
    cleanup(freep) char *work = lab_path(lab, "jobs/upgraded/work");
    cleanup(freep) char *job = lab_path(lab, "jobs/upgraded/artifact");

    stop_dense(lab, "upgraded");
    lab_edit_json(work, "layer-000.json", "codes_file", NULL);
    json_decref(lab_must(lab, "upgraded", NULL, DENSE));
    assert_in_range(lab_count(lab, "layer.found"), 2, 3);
    expect_whole(lab, "upgraded");
    json_decref(lab_must(lab, "of-upgraded", job, "{'kind': 'export', 'format': 'dense'}"));
    assert_int_equal(lab_count(lab, "job.warning"), 0);
}

/* Codes of an earlier version have no list of hashes: they are exported, and that is said. */
static void test_export_unchecked(void **state) {
    struct lab *lab = *state;
    cleanup(freep) char *job = lab_path(lab, "jobs/whole/artifact");
    cleanup(freep) char *list = lab_path(lab, "jobs/whole/codes/manifest.json");
    cleanup(freep) char *away = lab_path(lab, "jobs/whole/codes.json");

    json_decref(lab_must(lab, "checked", job, "{'kind': 'export', 'format': 'dense'}"));
    assert_int_equal(lab_count(lab, "job.warning"), 0);
    assert_int_equal(rename(list, away), 0);
    json_decref(lab_must(lab, "unchecked", job, "{'kind': 'export', 'format': 'dense'}"));
    assert_int_equal(lab_count(lab, "job.warning"), 1);
    assert_int_equal(rename(away, list), 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dense_streams),
        cmocka_unit_test(test_damaged_dense),
        cmocka_unit_test(test_exported),
        cmocka_unit_test(test_export_of_damaged),
        cmocka_unit_test(test_record_without_hash),
        cmocka_unit_test(test_export_unchecked),
    };

    int r = lab_device(argc, argv);

    return r ? r : cmocka_run_group_tests(tests, setup, lab_teardown);
}
