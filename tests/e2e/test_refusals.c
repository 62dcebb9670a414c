// SPDX-License-Identifier: Apache-2.0
/*
 * Input that a job cannot use: it says what is wrong, where, and what to do, and leaves nothing
 * that looks like a result. And a disk that is full, on a small file system of the test's own.
 */
#include "tests/e2e/lab.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#define GPTQ "{'wbits': 4}"
#define EVAL "{'kind': 'eval'}"
#define SHARD_1 "model-00001-of-00002.safetensors"
#define SHARD_2 "model-00002-of-00002.safetensors"
#define EXIT_SKIP 77

static void test_parameters(void **state) {
    static const char *const rows[][3] = {
        {"{'wbits': 4, 'groupsize': 96}", "invalid_parameter", "groupsize: 96 does not divide"},
        {"{'wbits': 4, 'groupsize': 256}", "invalid_parameter", "256 does not divide the 128"},
        {"{'wbits': 4, 'nearest': true, 'groupsize': 48}", "invalid_parameter", "48"},
        {"{'wbits': 4, 'seqlen': 513}", "invalid_parameter", "seqlen: 513 is more than the 512"},
        {"{'kind': 'eval', 'seqlen': 1000}", "invalid_parameter", "1000 is more than the 512"},
        {"{'wbits': 4, 'dataset': 'file:short.txt'}", "dataset_too_short", "window of 12"},
        {"{'kind': 'eval', 'eval': 'file:short.txt'}", "dataset_too_short", "window of 12"},
        {"{'kind': 'eval', 'eval': 'file:empty.txt'}", "dataset_too_short", "window of 12"},
        {"{'wbits': 4, 'dataset': 'file:nowhere.txt'}", "dataset_not_found", "nowhere.txt"},
        {"{'kind': 'eval', 'eval': 'file:nowhere.txt'}", "dataset_not_found", "nowhere.txt"},
        {"{'kind': 'eval', 'eval': 'wikitext2'}", "dataset_not_found", "wikitext"},
        {"{'kind': 'eval', 'eval': 'file:latin1.txt'}", "dataset_invalid", "latin1.txt"},
    };
    static const char *const texts[][2] = {
        {"short.txt", "Too little."}, {"empty.txt", ""}, {"latin1.txt", "caf\xe9"}};
    struct lab *lab = *state;

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        cleanup(freep) char *path = lab_path(lab, "data/%s", texts[i][0]);

        assert_int_equal(file_replace(path, texts[i][1], strlen(texts[i][1])), 0);
    }
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        lab_must_fail(lab, "parameters", NULL, rows[i][0], rows[i][1], rows[i][2]);
}

/* ---- files of the model ---- */

static void test_missing_files(void **state) {
    static const char *const rows[][3] = {
        {"config.json", "model_incomplete", "config.json"},
        {SHARD_2, "model_incomplete", SHARD_2},
        {"tokenizer.json", "model_incomplete", "tokenizer.json"},
        {"model.safetensors.index.json", "model_incomplete", ""},
    };
    struct lab *lab = *state;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        cleanup(freep) char *name = str_format("missing-%zu", i);
        cleanup(freep) char *model = lab_copy(lab, lab->demo, name);
        cleanup(freep) char *path = str_format("%s/%s", model, rows[i][0]);

        assert_int_equal(unlink(path), 0);
        lab_must_fail(lab, name, model, GPTQ, rows[i][1], rows[i][2]);
        lab_must_fail(lab, name, model, EVAL, rows[i][1], rows[i][2]);
    }
}

/* What a clone without git-lfs leaves. */
static void test_lfs_pointers(void **state) {
    static const char pointer[] = "version https://git-lfs.github.com/spec/v1\n"
                                  "oid sha256:00\nsize 12345\n";
    static const char *const rows[][2] = {
        {"config.json", "model_invalid"},
        {SHARD_2, "model_incomplete"},
        {"tokenizer.json", "tokenizer_invalid"},
        {"model.safetensors.index.json", "model_invalid"},
    };
    struct lab *lab = *state;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        cleanup(freep) char *name = str_format("lfs-%zu", i);
        cleanup(freep) char *model = lab_copy(lab, lab->demo, name);
        cleanup(freep) char *path = str_format("%s/%s", model, rows[i][0]);
        cleanup(freep) char *words = str_format("%s': it is a Git LFS pointer", rows[i][0]);

        assert_int_equal(file_replace(path, pointer, strlen(pointer)), 0);
        lab_must_fail(lab, name, model, EVAL, rows[i][1], words);
    }
}

/* Puts @n @bytes into the file @name of @model where @needle is; NULL: at its start. */
static void patch(const char *model, const char *name, const char *needle, const char *bytes,
                  size_t n) {
    cleanup(freep) char *path = str_format("%s/%s", model, name), *data = NULL;
    char *at;
    size_t size;

    assert_int_equal(file_read(path, 1 << 30, &data, &size), 0);
    at = needle ? memmem(data, size, needle, strlen(needle)) : data;
    assert_non_null(at);
    memcpy(at, bytes, n);
    assert_int_equal(file_replace(path, data, size), 0);
}

static void test_damaged_shards(void **state) {
    struct lab *lab = *state;
    cleanup(freep) char *cut = lab_copy(lab, lab->demo, "cut");
    cleanup(freep) char *length = lab_copy(lab, lab->demo, "length");
    cleanup(freep) char *shape = lab_copy(lab, lab->demo, "shape");
    cleanup(freep) char *dtype = lab_copy(lab, lab->demo, "dtype");
    cleanup(freep) char *tokenizer = lab_copy(lab, lab->demo, "tokenizer");
    cleanup(freep) char *shard = str_format("%s/%s", cut, SHARD_1);

    assert_int_equal(truncate(shard, 5000000), 0);
    lab_must_fail(lab, "cut", cut, GPTQ, "model_invalid", SHARD_1);
    patch(length, SHARD_2, NULL, "\xff\xff\xff\xff\xff\xff\xff\x7f", 8);
    lab_must_fail(lab, "length", length, GPTQ, "model_invalid", SHARD_2);
    patch(shape, SHARD_1, "[4096,256]", "[4095,256]", 10);
    lab_must_fail(lab, "shape", shape, GPTQ, "model_invalid", SHARD_1);
    patch(dtype, SHARD_1, "\"BF16\"", "\"I16\" ", 6);
    lab_must_fail(lab, "dtype", dtype, GPTQ, "model_invalid", "is I16, not F32, F16 or BF16");
    patch(tokenizer, "tokenizer.json", "\"BPE\"", "\"CPE\"", 5);
    lab_must_fail(lab, "tokenizer", tokenizer, EVAL, "tokenizer_invalid", "tokenizer.json");
}

/* ---- weights ---- */

struct poison {
    const char *name;
    uint16_t value; /* bf16, put into the last element */
};

static bool put_poison(void *ctx, struct tensor *t, unsigned char *data, void **ret_data) {
    const struct poison *poison = ctx;

    (void)ret_data;
    if (str_equal(t->name, poison->name))
        memcpy(data + t->size - sizeof(poison->value), &poison->value, sizeof(poison->value));
    return true;
}

static void test_not_finite(void **state) {
    static struct poison poisons[] = {
        {"model.layers.1.mlp.experts.15.down_proj.weight", 0x7fc0}, /* NaN */
        {"model.layers.2.self_attn.q_proj.weight", 0xff80},         /* -Inf */
        {"model.layers.0.mlp.gate.weight", 0x7f80},
        {"model.layers.2.self_attn.k_norm.weight", 0xffff},
        {"model.embed_tokens.weight", 0x7f80},
        {"model.norm.weight", 0x7f81},
        {"lm_head.weight", 0x7fc0},
    };
    struct lab *lab = *state;

    for (size_t i = 0; i < ARRAY_SIZE(poisons); i++) {
        cleanup(freep) char *name = str_format("poison-%zu", i);
        cleanup(freep) char *model = lab_rewrite(lab, lab->demo, name, put_poison, &poisons[i]);

        lab_must_fail(lab, name, model, EVAL, "model_invalid", poisons[i].name);
        lab_must_fail(lab, name, model, GPTQ, "model_invalid", poisons[i].name);
        lab_must_fail(lab, name, model, "{'wbits': 4, 'nearest': true, 'eval': []}",
                      "model_invalid", poisons[i].name);
        if (!strstr(poisons[i].name, "_proj")) /* the plain ones before anything is computed */
            assert_int_equal(lab_count(lab, "layer.finished"), 0);
    }
}

/* ---- models that do not fit ---- */

/* What a scripted device says of its memory. */
static size_t memory_total, memory_free;

static void info_of_small_device(struct backend *b, struct backend_info *ret_info) {
    backend_cpu.info(b, ret_info);
    ret_info->memory_total = memory_total;
    ret_info->memory_free = memory_free;
}

/* Others hold the device: wait. It is too small for the job: that will never do. */
static void test_device_memory(void **state) {
    struct lab *lab = *state;
    const struct backend_ops *ops = lab->backend->ops;
    struct backend_ops small = *ops;

    small.info = info_of_small_device;
    lab->backend->ops = &small;
    memory_total = (size_t)64 << 30;
    memory_free = (size_t)100 << 20;
    lab_must_fail(lab, "busy", NULL, GPTQ, "device_memory", "are free");
    memory_total = (size_t)200 << 20;
    lab_must_fail(lab, "small", NULL, GPTQ, "device_too_small", "in all");
    lab_must_fail(lab, "small", NULL, "{'kind': 'eval', 'batch': 4}", "device_too_small",
                  "4 windows");
    lab->backend->ops = ops;
}

static void test_foreign_tokenizer(void **state) {
    struct lab *lab = *state;
    const char *source = getenv("QUANTD_SOURCE");
    cleanup(freep) char *from = str_format("%s/tests/data/geometry/odd", source ? source : ".");
    cleanup(freep) char *model = lab_copy(lab, from, "foreign");
    cleanup(freep) char *theirs = str_format("%s/tokenizer.json", lab->demo);
    cleanup(freep) char *ours = str_format("%s/tokenizer.json", model), *data = NULL;
    size_t size;

    assert_int_equal(file_read(theirs, 1 << 20, &data, &size), 0);
    assert_int_equal(file_replace(ours, data, size), 0);
    lab_must_fail(lab, "foreign", model, "{'wbits': 4, 'seqlen': 64}", "model_invalid",
                  "outside the vocabulary of 96");
    lab_must_fail(lab, "foreign", model, "{'kind': 'eval', 'seqlen': 64}", "model_invalid",
                  "outside the vocabulary of 96");
}

static void test_quantized_already(void **state) {
    struct lab *lab = *state;
    cleanup(freep) char *model = lab_path(lab, "jobs/once/artifact");

    json_decref(lab_must(lab, "once", NULL, "{'wbits': 4, 'nearest': true, 'eval': []}"));
    lab_must_fail(lab, "again", model, GPTQ, "model_unsupported", "is quantized already");
}

static bool drop_one(void *ctx, struct tensor *t, unsigned char *data, void **ret_data) {
    (void)data;
    (void)ret_data;
    return !str_equal(t->name, ctx);
}

static void test_missing_tensors(void **state) {
    static char names[][64] = {"model.layers.2.mlp.experts.7.up_proj.weight", "lm_head.weight",
                               "model.layers.0.self_attn.q_norm.weight"};
    struct lab *lab = *state;

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        cleanup(freep) char *name = str_format("tensor-%zu", i);
        cleanup(freep) char *model = lab_rewrite(lab, lab->demo, name, drop_one, names[i]);

        lab_must_fail(lab, name, model, GPTQ, "model_incomplete", names[i]);
    }
}

/* ---- a full disk ---- */

static int write_map(const char *path, unsigned int id) {
    cleanup(freep) char *text = str_format("0 %u 1", id);
    cleanup(closep) int fd = open(path, O_WRONLY | O_CLOEXEC);

    return fd < 0 || file_write_all(fd, text, strlen(text)) ? -1 : 0;
}

/* Mounts are this process's own from here on. */
static int own_mounts(void) {
    unsigned int uid = getuid(), gid = getgid();
    cleanup(closep) int fd = -1;

    if (unshare(CLONE_NEWUSER | CLONE_NEWNS))
        return -1;
    fd = open("/proc/self/setgroups", O_WRONLY | O_CLOEXEC);
    if (fd >= 0)
        file_write_all(fd, "deny", 4);
    return write_map("/proc/self/uid_map", uid) || write_map("/proc/self/gid_map", gid);
}

/*
 * One job on a file system that is enlarged after every failure, in a process of its own: the
 * program again, with the lab's folder as argument. Return: its exit status.
 */
static int disk_main(const char *root) {
    static const char *const sizes[] = {"size=256k", "size=1500k", "size=3m", "size=6m"};
    cleanup(freep) char *dir = str_format("%s/jobs/disk", root);
    cleanup(json_decrefp) json_t *result = NULL, *a = NULL, *b = NULL;
    struct lab *lab;
    int last = -1;

    if (dir_make(dir) || mount("none", dir, "tmpfs", 0, sizes[0]))
        return EXIT_SKIP;
    lab = lab_open(root);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct failure failure = {};

        if (i && mount("none", dir, "tmpfs", MS_REMOUNT, sizes[i]))
            return EXIT_SKIP;
        if (lab_run(lab, "disk", NULL, GPTQ, &result, &failure) != -ENOSPC ||
            !str_equal(failure.code, "disk_full") || !failure.retryable || !failure.hint[0] ||
            lab_exists(lab, "disk", "artifact") || lab_exists(lab, "disk", "result.json")) {
            printf("with %s: '%s' %s\n", sizes[i], failure.code, failure.detail);
            return EXIT_FAILURE;
        }
        printf("with %s: %d layers more, then %s\n", sizes[i], lab_count(lab, "layer.finished"),
               failure.detail);
        last = (int)i;
    }
    if (mount("none", dir, "tmpfs", MS_REMOUNT, "size=64m"))
        return EXIT_SKIP;
    result = lab_must(lab, "disk", NULL, GPTQ);
    printf("with space: %d layers after %d failures\n", lab_count(lab, "layer.finished"), last + 1);
    if (lab_count(lab, "layer.finished") == 3)
        return EXIT_FAILURE; /* it did not go on */
    a = lab_digest(lab, "disk");
    b = lab_digest(lab, "whole");
    lab_free(lab);
    return json_equal(a, b) ? EXIT_SUCCESS : EXIT_FAILURE;
}

static void test_disk_full(void **state) {
    struct lab *lab = *state;
    int status;
    pid_t child;

    json_decref(lab_must(lab, "whole", NULL, GPTQ));
    fflush(stdout);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (own_mounts()) /* before there are threads, which would forbid it */
            _exit(EXIT_SKIP);
        execl("/proc/self/exe", "test_refusals", lab->root, (char *)NULL);
        _exit(1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIP) {
        printf("skipped: a process may not mount a small file system here\n");
        skip();
    }
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parameters),        cmocka_unit_test(test_missing_files),
        cmocka_unit_test(test_lfs_pointers),      cmocka_unit_test(test_damaged_shards),
        cmocka_unit_test(test_not_finite),        cmocka_unit_test(test_foreign_tokenizer),
        cmocka_unit_test(test_quantized_already), cmocka_unit_test(test_missing_tensors),
        cmocka_unit_test(test_device_memory),     cmocka_unit_test(test_disk_full),
    };

    if (argc == 2)
        return disk_main(argv[1]);
    return cmocka_run_group_tests(tests, lab_setup, lab_teardown);
}
