// SPDX-License-Identifier: Apache-2.0
/*
 * A job that is stopped, in whatever way and wherever, gives the bytes of one that was not. A
 * process that dies is this program, started again with the arguments that main() reads; it dies
 * at a rename, which is where a file comes to be.
 */
#include "tests/e2e/lab.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define REQUEST "{'wbits': 4, 'groupsize': 128, 'act_order': true}"
#define DENSE "{'wbits': 3, 'groupsize': 64, 'format': 'dense'}"
#define DRIFT                                                                                      \
    "{'wbits': 3, 'groupsize': 64, 'act_order': true, 'true_sequential': true, 'drift': 0.5}"
#define KGRID                                                                                      \
    "{'gguf_type': 'q2_k', 'act_order': true, 'refine': 1, 'rules': ['down_proj:wbits=8']}"
#define TARGET "{'target_bits': 2.5, 'groupsize': 128}"
#define ATTEMPTS_MAX 64
#define HASH_STEP ((size_t)1 << 20) /* bytes of the model that are read at a time to be hashed */

/* ---- dying ---- */

static struct {
    atomic_int renames_left; /* the process dies at the last one */
    bool after;              /* the file is there by then */
    atomic_bool holds_hash;  /* the model is not hashed before there is a plan of bits */
    atomic_int syncs_left;   /* the disk is full at the last one */
} fate;

/* Takes the place of the C library's in this program. */
int fsync(int fd) {
    if (atomic_fetch_sub(&fate.syncs_left, 1) == 1) {
        errno = ENOSPC;
        return -1;
    }
    return (int)syscall(SYS_fsync, fd);
}

/* Takes the place of the C library's in this program. */
ssize_t read(int fd, void *buffer, size_t size) {
    while (size == HASH_STEP && fate.holds_hash)
        usleep(1000);
    return syscall(SYS_read, fd, buffer, size);
}

/* Takes the place of the C library's in this program. */
int rename(const char *from, const char *to) {
    int left = atomic_fetch_sub(&fate.renames_left, 1);

    if (left == 1 && !fate.after)
        raise(SIGKILL);
    if (syscall(SYS_rename, from, to))
        return -1;
    if (left == 1)
        raise(SIGKILL);
    if (strstr(to, "/work/bits.json"))
        fate.holds_hash = false;
    return 0;
}

/* Runs the job in a process that dies at its @renames-th rename. Return: did it live? */
static bool attempt(const struct lab *lab, const char *job, const char *request, int renames,
                    bool after) {
    cleanup(freep) char *count = str_format("%d", renames);
    pid_t child = fork();
    int status;

    assert_true(child >= 0);
    if (child == 0) {
        execl("/proc/self/exe", "test_resume", lab->root, job, request, count,
              after ? "after" : "before", (char *)NULL);
        _exit(1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        return false;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("the process ended with status %#x at %d renames", status, renames);
    return true;
}

static int child_main(char **argv) {
    struct lab *lab = lab_open(argv[1]);
    struct failure failure = {};
    json_t *result = NULL;

    fate.after = str_equal(argv[5], "after");
    fate.holds_hash = str_equal(argv[3], TARGET);
    fate.renames_left = atoi(argv[4]);
    if (lab_run(lab, argv[2], NULL, argv[3], &result, &failure)) {
        fprintf(stderr, "%s: %s\n", failure.code, failure.detail);
        return 1;
    }
    json_decref(result);
    lab_free(lab);
    return 0;
}

/* ---- comparing ---- */

static void expect_same(const struct lab *lab, const char *a, const char *b) {
    cleanup(json_decrefp) json_t *x = lab_digest(lab, a), *y = lab_digest(lab, b);
    const char *name;
    json_t *hash;

    json_object_foreach(x, name, hash) {
        if (!json_equal(hash, json_object_get(y, name)))
            fail_msg("'%s' of job %s is not that of job %s", name, b, a);
    }
    assert_int_equal(json_object_size(x), json_object_size(y));
    assert_true(lab_exists(lab, b, "result.json"));
    assert_false(lab_exists(lab, b, "work"));
}

/* ---- tests ---- */

static int setup(void **state) {
    struct lab *lab;

    lab_setup(state);
    lab = *state;
    json_decref(lab_must(lab, "whole", NULL, REQUEST));
    json_decref(lab_must(lab, "whole-dense", NULL, DENSE));
    json_decref(lab_must(lab, "whole-drift", NULL, DRIFT));
    json_decref(lab_must(lab, "whole-kgrid", NULL, KGRID));
    return 0;
}

static void test_twice(void **state) {
    struct lab *lab = *state;

    json_decref(lab_must(lab, "twice", NULL, REQUEST));
    assert_int_equal(lab_count(lab, "job.resumed"), 0);
    assert_int_equal(lab_count(lab, "layer.finished"), 3);
    expect_same(lab, "whole", "twice");
}

/* A published job is not run again. */
static void test_published(void **state) {
    struct lab *lab = *state;
    cleanup(json_decrefp) json_t *first = lab_must(lab, "published", NULL, REQUEST);
    cleanup(json_decrefp) json_t *again = lab_must(lab, "published", NULL, REQUEST);

    assert_int_equal(json_array_size(lab->events), 0);
    assert_true(json_equal(first, again));
    expect_same(lab, "whole", "published");
}

/*
 * Cancels at the @at-th event of @kind; what then is left is @layers finished layers, or more:
 * those that were on their way to the disk.
 */
static void cancel_at(struct lab *lab, const char *kind, int at, int layers) {
    cleanup(freep) char *job = str_format("cancel-%s-%d", kind, at);
    struct failure failure = {};
    json_t *result = NULL, *resumed;
    int found;

    lab->stop_kind = kind;
    lab->stop_at = at;
    assert_int_equal(lab_run(lab, job, NULL, REQUEST, &result, &failure), -ECANCELED);
    lab->stop_kind = NULL;
    assert_null(result);
    assert_string_equal(failure.code, "cancelled");
    assert_false(lab_exists(lab, job, "artifact"));
    assert_false(lab_exists(lab, job, "result.json"));

    json_decref(lab_must(lab, job, NULL, REQUEST));
    found = lab_count(lab, "layer.found");
    assert_in_range(found, layers, 3);
    assert_int_equal(lab_count(lab, "layer.finished"), 3 - found);
    assert_int_equal(lab_count(lab, "job.resumed"), 1);
    for (size_t i = 0; i < json_array_size(lab->events); i++) {
        json_t *event = json_array_get(lab->events, i);

        if (!str_equal(json_string_value(json_object_get(event, "kind")), "job.resumed"))
            continue;
        resumed = json_object_get(event, "data");
        assert_int_equal(json_integer_value(json_object_get(resumed, "layer")), found);
    }
    expect_same(lab, "whole", job);
}

static void test_cancelled(void **state) {
    struct lab *lab = *state;

    cancel_at(lab, "layer.finished", 1, 1);
    cancel_at(lab, "layer.finished", 2, 2);
    cancel_at(lab, "layer.finished", 3, 3);
}

/* Before there is anything to continue from, the job just starts. */
static void test_cancelled_early(void **state) {
    struct failure failure = {};
    struct lab *lab = *state;
    json_t *result = NULL;

    lab->stop_kind = "phase.started";
    lab->stop_at = 1; /* load */
    assert_int_equal(lab_run(lab, "early", NULL, REQUEST, &result, &failure), -ECANCELED);
    lab->stop_at = 2; /* calibrate */
    assert_int_equal(lab_run(lab, "early", NULL, REQUEST, &result, &failure), -ECANCELED);
    lab->stop_kind = NULL;
    json_decref(lab_must(lab, "early", NULL, REQUEST));
    expect_same(lab, "whole", "early");
}

/* An attempt dies at its first rename, the next at its second, until one lives. */
static void die_often(struct lab *lab, const char *job, const char *request, const char *whole,
                      bool after) {
    int n = 1;

    while (n < ATTEMPTS_MAX && !attempt(lab, job, request, n, after))
        n++;
    printf("%s: %d attempts died\n", job, n - 1);
    assert_true(n > 5 && n < ATTEMPTS_MAX);
    expect_same(lab, whole, job);
}

static void test_killed_before_rename(void **state) {
    die_often(*state, "dies-before", REQUEST, "whole", false);
}

static void test_killed_after_rename(void **state) {
    die_often(*state, "dies-after", REQUEST, "whole", true);
}

static void test_killed_dense(void **state) {
    die_often(*state, "dies-dense", DENSE, "whole-dense", true);
}

/* The original's hidden states are made again, with the weights of the model. */
static void test_killed_drift(void **state) {
    die_often(*state, "dies-drift", DRIFT, "whole-drift", true);
}

/* d, dmin and all whole numbers are read back from the layers. */
static void test_killed_kgrid(void **state) {
    die_often(*state, "dies-kgrid", KGRID, "whole-kgrid", true);
}

/* The model's fingerprint in the plan of @job; "": not known yet. The caller owns it. */
static char *planned_model(const struct lab *lab, const char *job) {
    cleanup(freep) char *path = lab_path(lab, "jobs/%s/work/plan.json", job);
    cleanup(json_decrefp) json_t *plan = NULL;
    struct failure failure = {};

    assert_int_equal(json_parse_file(path, 1 << 20, "damaged", &plan, &failure), 0);
    return strdup(json_string_value(json_object_get(plan, "model")));
}

/*
 * What the hash of the model adds to the plan, when it ends after rules were found, is no reason to
 * start over: a process dies with that written and a layer done, and the next one chooses nothing
 * anew.
 */
static void test_killed_planned(void **state) {
    cleanup(freep) char *job = strdup("dies-target-1"), *model = NULL;
    struct lab *lab = *state;
    bool noted = false;

    json_decref(lab_must(lab, "whole-target", NULL, TARGET));
    assert_false(attempt(lab, job, TARGET, 1, true));
    model = planned_model(lab, job);
    assert_string_equal(model, ""); /* the hash is late */
    for (int n = 4; n < ATTEMPTS_MAX && !noted; n++) {
        free(job);
        free(model);
        job = str_format("dies-target-%d", n);
        assert_false(attempt(lab, job, TARGET, n, true));
        model = planned_model(lab, job);
        noted = model[0] && lab_exists(lab, job, "work/layer-000.json");
    }
    assert_true(noted);
    json_decref(lab_must(lab, job, NULL, TARGET));
    assert_int_equal(lab_count(lab, "job.warning"), 0);
    assert_int_equal(lab_count(lab, "job.resumed"), 1);
    assert_int_equal(lab_count(lab, "plan.finished"), 0);
    expect_same(lab, "whole-target", job);
}

static void test_killed_eval(void **state) {
    cleanup(json_decrefp) json_t *whole = NULL, *result = NULL;
    struct lab *lab = *state;
    int n = 1;

    whole = lab_must(lab, "eval", NULL, "{'kind': 'eval'}");
    while (!attempt(lab, "dies-eval", "{'kind': 'eval'}", n, true))
        n++;
    assert_true(n > 2);
    result = lab_must(lab, "dies-eval", NULL, "{'kind': 'eval'}");
    assert_true(lab_perplexity(result) == lab_perplexity(whole));
}

/* The disk is full at some sync, while other layers are on their way. */
static void test_full_disk(void **state) {
    struct lab *lab = *state;
    int n = 1, failed = 0, left;

    do {
        cleanup(freep) char *job = str_format("full-%d", n);
        struct failure failure = {};
        json_t *result = NULL;
        int r;

        fate.syncs_left = n;
        r = lab_run(lab, job, NULL, REQUEST, &result, &failure);
        left = fate.syncs_left;
        fate.syncs_left = 0;
        json_decref(result);
        if (r) {
            assert_int_equal(r, -ENOSPC);
            assert_string_equal(failure.code, "disk_full");
            json_decref(lab_must(lab, job, NULL, REQUEST));
            failed++;
        }
        expect_same(lab, "whole", job);
        n += 3; /* of files, and of folders: not all, as each takes two jobs */
    } while (left <= 0);
    assert_true(failed > 6);
}

/* Cut short or overwritten, as a file system may leave a file after power was lost. */
static void test_damaged_work(void **state) {
    static const struct {
        const char *name;
        long size; /* that is left */
        int layers;
    } damages[] = {
        {"work/layer-001.safetensors", 1000, 1}, {"work/layer-001.safetensors", 0, 1},
        {"work/layer-000.json", 10, 0},          {"work/plan.json", 5, 0},
        {"work/layer-001.json", 0, 1},
    };
    struct failure failure = {};
    struct lab *lab = *state;

    for (size_t i = 0; i < ARRAY_SIZE(damages); i++) {
        cleanup(freep) char *job = str_format("damaged-%zu", i);
        cleanup(freep) char *path = lab_path(lab, "jobs/%s/%s", job, damages[i].name);
        json_t *result = NULL;

        lab->stop_kind = "layer.finished";
        lab->stop_at = 2;
        assert_int_equal(lab_run(lab, job, NULL, REQUEST, &result, &failure), -ECANCELED);
        lab->stop_kind = NULL;
        assert_int_equal(truncate(path, damages[i].size), 0);
        json_decref(lab_must(lab, job, NULL, REQUEST));
        assert_int_equal(lab_count(lab, "layer.finished"), 3 - damages[i].layers);
        expect_same(lab, "whole", job);
    }
}

/* A plan that names no batch, or one that no job can have, is none: the job starts over. */
static void test_absurd_batch(void **state) {
    static const json_int_t batches[] = {0, -5, INT32_MAX, INT64_MAX};
    struct failure failure = {};
    struct lab *lab = *state;

    for (size_t i = 0; i < ARRAY_SIZE(batches); i++) {
        cleanup(freep) char *job = str_format("absurd-%zu", i);
        cleanup(freep) char *path = lab_path(lab, "jobs/%s/work/plan.json", job);
        cleanup(json_decrefp) json_t *plan = NULL;
        json_t *result = NULL;

        lab->stop_kind = "layer.finished";
        lab->stop_at = 2;
        assert_int_equal(lab_run(lab, job, NULL, REQUEST, &result, &failure), -ECANCELED);
        lab->stop_kind = NULL;
        assert_int_equal(json_parse_file(path, 4096, "damaged", &plan, &failure), 0);
        assert_true(json_is_integer(json_object_get(plan, "batch")));
        json_object_set_new(plan, "batch", json_integer(batches[i]));
        assert_int_equal(json_dump_file(plan, path, 0), 0);
        json_decref(lab_must(lab, job, NULL, REQUEST));
        assert_int_equal(lab_count(lab, "layer.finished"), 3);
        expect_same(lab, "whole", job);
    }
}

/* Stops job @job after two layers of @before, then runs @after: it must start over. */
static void expect_start_over(struct lab *lab, const char *job, const char *model,
                              const char *before, const char *after) {
    struct failure failure = {};
    json_t *result = NULL;

    lab->stop_kind = "layer.finished";
    lab->stop_at = 2;
    assert_int_equal(lab_run(lab, job, NULL, before, &result, &failure), -ECANCELED);
    lab->stop_kind = NULL;
    json_decref(lab_must(lab, job, model, after));
    assert_int_equal(lab_count(lab, "job.resumed"), 0);
    assert_int_equal(lab_count(lab, "layer.finished"), 3);
}

static void test_changed_parameters(void **state) {
    static const char *const changes[] = {
        "'seed': 1",     "'nsamples': 7",   "'percdamp': 0.02",      "'drift': 0.5",
        "'seqlen': 127", "'groupsize': 64", "'static_groups': true",
    };
    cleanup(json_decrefp) json_t *before = lab_json(REQUEST);
    struct lab *lab = *state;

    for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
        cleanup(freep) char *job = str_format("changed-%zu", i);
        cleanup(freep) char *text = str_format("{%s}", changes[i]), *after = NULL;
        cleanup(json_decrefp) json_t *object = json_deep_copy(before), *change = lab_json(text);

        json_object_update(object, change);
        after = json_dumps(object, 0);
        expect_start_over(lab, job, NULL, REQUEST, after);
    }
}

static bool change_one(void *ctx, struct tensor *t, unsigned char *data, void **ret_data) {
    (void)ctx;
    (void)ret_data;
    if (str_equal(t->name, "model.layers.2.mlp.gate.weight"))
        data[0] ^= 1;
    return true;
}

static void test_changed_model(void **state) {
    struct lab *lab = *state;
    cleanup(freep) char *model = lab_rewrite(lab, lab->demo, "changed", change_one, NULL);

    expect_start_over(lab, "changed-model", model, REQUEST, REQUEST);
}

static void test_changed_data(void **state) {
    expect_start_over(*state, "changed-data", NULL, REQUEST,
                      "{'wbits': 4, 'groupsize': 128, 'act_order': true, 'dataset': '" LAB_EVAL
                      "'}");
}

/* What does not touch the layers may change: the format, and what is measured. */
static void test_changed_format(void **state) {
    struct failure failure = {};
    struct lab *lab = *state;
    json_t *result = NULL;

    lab->stop_kind = "layer.finished";
    lab->stop_at = 2;
    assert_int_equal(
        lab_run(lab, "format", NULL, "{'wbits': 3, 'groupsize': 64}", &result, &failure),
        -ECANCELED);
    lab->stop_kind = NULL;
    json_decref(lab_must(lab, "format", NULL, DENSE));
    assert_int_equal(lab_count(lab, "layer.finished"), 3); /* of another layout */
    expect_same(lab, "whole-dense", "format");
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_twice),
        cmocka_unit_test(test_published),
        cmocka_unit_test(test_cancelled),
        cmocka_unit_test(test_cancelled_early),
        cmocka_unit_test(test_killed_before_rename),
        cmocka_unit_test(test_killed_after_rename),
        cmocka_unit_test(test_killed_dense),
        cmocka_unit_test(test_killed_drift),
        cmocka_unit_test(test_killed_kgrid),
        cmocka_unit_test(test_killed_planned),
        cmocka_unit_test(test_killed_eval),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_damaged_work),
        cmocka_unit_test(test_absurd_batch),
        cmocka_unit_test(test_changed_parameters),
        cmocka_unit_test(test_changed_model),
        cmocka_unit_test(test_changed_data),
        cmocka_unit_test(test_changed_format),
    };

    if (argc == 6)
        return child_main(argv);
    return cmocka_run_group_tests(tests, setup, lab_teardown);
}
