// SPDX-License-Identifier: Apache-2.0
#include "daemon/files/models.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "restrict.h"

/* TOP/one/org/name, TOP/two/plain, TOP/two/empty without config.json, TOP/secret outside. */
struct roots {
    char top[64], one[80], two[80];
    char *list[2];
    struct models models;
};

static void make_model(const char *top, const char *path) {
    cleanup(freep) char *dir = str_format("%s/%s", top, path);
    cleanup(freep) char *file = str_format("%s/%s/config.json", top, path);

    assert_int_equal(dir_make(dir), 0);
    assert_int_equal(file_replace(file, "{}", 2), 0);
}

static void make_link(const char *top, const char *target, const char *path) {
    cleanup(freep) char *link = str_format("%s/%s", top, path);

    assert_int_equal(symlink(target, link), 0);
}

static int setup(void **state) {
    struct roots *r = calloc(1, sizeof(*r));
    cleanup(freep) char *empty = NULL;

    strcpy(r->top, "/tmp/quantd-test-XXXXXX");
    assert_non_null(mkdtemp(r->top));
    snprintf(r->one, sizeof(r->one), "%s/one", r->top);
    snprintf(r->two, sizeof(r->two), "%s/two", r->top);
    make_model(r->top, "one/org/name");
    make_model(r->top, "one/at@home");
    make_model(r->top, "two/plain");
    make_model(r->top, "secret");
    make_model(r->top, "one-more/model");
    empty = str_format("%s/empty", r->two);
    assert_int_equal(dir_make(empty), 0);
    make_link(r->top, "plain", "two/inside");
    make_link(r->top, "../secret", "two/outside");
    make_link(r->top, "/", "two/slash");
    r->list[0] = r->one;
    r->list[1] = r->two;
    models_set_roots(&r->models, r->list, 2);
    *state = r;
    return 0;
}

static int teardown(void **state) {
    struct roots *r = *state;

    assert_int_equal(dir_remove(r->top), 0);
    free(r);
    return 0;
}

static void expect_dir(struct roots *r, const char *name, const char *path) {
    cleanup(freep) char *dir = NULL;
    cleanup(freep) char *expected = str_format("%s/%s", r->top, path);
    struct failure failure;

    if (models_resolve(&r->models, name, &dir, &failure))
        fail_msg("%s: %s", name, failure.detail);
    assert_string_equal(dir, expected);
}

static void expect_refused(struct roots *r, const char *name) {
    cleanup(freep) char *dir = NULL;
    struct failure failure = {};

    if (models_resolve(&r->models, name, &dir, &failure) != -EINVAL)
        fail_msg("'%s' is not refused: %s", name, dir ? dir : failure.detail);
    assert_string_equal(failure.field, "model");
    assert_null(dir);
}

static void test_found(void **state) {
    struct roots *r = *state;
    cleanup(freep) char *absolute = str_format("%s/two/plain", r->top);
    cleanup(freep) char *slashes = str_format("%s/two//plain/", r->top);

    expect_dir(r, "org/name", "one/org/name");
    expect_dir(r, "org/name@main", "one/org/name");
    expect_dir(r, "at@home", "one/at@home");
    expect_dir(r, "plain", "two/plain");
    expect_dir(r, "./plain", "two/plain");
    expect_dir(r, "inside", "two/plain");
    expect_dir(r, absolute, "two/plain");
    expect_dir(r, slashes, "two/plain");
}

/* A folder of another kind is named for what it is, at submission. */
static void test_strangers(void **state) {
    static const struct {
        const char *file, *words;
    } rows[] = {{"w.Q4_K_M.gguf", "a GGUF file"}, {"adapter_config.json", "an adapter"}};
    struct roots *r = *state;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        cleanup(freep) char *path = str_format("%s/two/empty/%s", r->top, rows[i].file);
        cleanup(freep) char *dir = NULL;
        struct failure failure = {};

        assert_int_equal(file_replace(path, "", 0), 0);
        assert_int_equal(models_resolve(&r->models, "empty", &dir, &failure), -EINVAL);
        assert_string_equal(failure.code, "model_unsupported");
        assert_string_equal(failure.field, "model");
        if (!strstr(failure.detail, rows[i].words))
            fail_msg("'%s' does not say '%s'", failure.detail, rows[i].words);
    }
}

static void test_refused(void **state) {
    static const char *const names[] = {
        "",
        "nope",
        "org",
        "../secret",
        "org/../../secret",
        "outside",
        "slash",
        "empty",
        "slash/etc",
        "plain/config.json",
        "/etc",
        "/",
        ".",
        "plain/../../secret",
        "..",
        "@main",
        "org/nope@main",
        "~root",
        "file:///etc",
    };
    struct roots *r = *state;
    cleanup(freep) char *secret = str_format("%s/secret", r->top);
    cleanup(freep) char *dots = str_format("%s/one/../secret", r->top);
    cleanup(freep) char *sibling = str_format("%s/one-more/model", r->top);
    char giant[3000];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        expect_refused(r, names[i]);
    expect_refused(r, secret);
    expect_refused(r, dots);
    expect_refused(r, sibling);
    memset(giant, 'x', sizeof(giant));
    giant[sizeof(giant) - 1] = '\0';
    expect_refused(r, giant);
}

static void test_codes(void **state) {
    struct roots *r = *state;
    struct failure failure;
    char *dir = NULL;

    assert_int_equal(models_resolve(&r->models, "org/nope", &dir, &failure), -EINVAL);
    assert_string_equal(failure.code, "model_not_found");
    assert_non_null(strstr(failure.hint, r->two));
    r->models.n_roots = 0;
    assert_int_equal(models_resolve(&r->models, "plain", &dir, &failure), -EINVAL);
    assert_int_equal(models_resolve(&r->models, "/", &dir, &failure), -EINVAL);
}

static void test_job_reference(void **state) {
    int64_t id = 0;

    (void)state;
    assert_false(models_job_reference("jobs/1", &id));
    assert_true(models_job_reference("job:17", &id));
    assert_int_equal(id, 17);
    assert_true(models_job_reference("job:", &id));
    assert_int_equal(id, -1);
    assert_true(models_job_reference("job:-1", &id));
    assert_int_equal(id, -1);
    assert_true(models_job_reference("job:99999999999999999999", &id));
    assert_int_equal(id, -1);
}

/* Links in the path where none is followed. */
static void test_no_links(void **state) {
    struct roots *r = *state;
    int root = open(r->top, O_PATH | O_DIRECTORY), fd;

    fd = file_open_beneath(root, "two/plain/config.json", O_RDONLY, false);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(file_open_beneath(root, "two/inside/config.json", O_RDONLY, false), -ELOOP);
    assert_int_equal(file_open_beneath(root, "two/inside", O_RDONLY, false), -ELOOP);
    assert_int_equal(file_open_beneath(root, "two/inside", O_PATH, false), -ELOOP);
    fd = file_open_beneath(root, "two/outside", O_PATH, true); /* inside this root */
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(file_open_beneath(root, "two/slash", O_PATH, true), -EXDEV);
    assert_int_equal(file_open_beneath(root, "two/nope", O_PATH, true), -ENOENT);
    assert_int_equal(file_open_beneath(root, "../nope", O_PATH, true), -EXDEV);
    close(root);
}

/* A file of the model may be a link, as in the cache of the hub; it stays inside the root. */
static void test_file_links(void **state) {
    struct roots *r = *state;
    cleanup(freep) char *dir = NULL, *again = NULL;
    struct failure failure;

    make_model(r->top, "two/linked");
    make_link(r->top, "../plain/config.json", "two/linked/tokenizer.json");
    make_link(r->top, "../../secret/config.json", "two/linked/README.md"); /* is not needed */
    make_link(r->top, "../nowhere", "two/linked/vocab.json");
    expect_dir(r, "linked", "two/linked");
    make_link(r->top, "../../secret/config.json", "two/linked/generation_config.json");
    assert_int_equal(models_resolve(&r->models, "linked", &dir, &failure), -EINVAL);
    assert_string_equal(failure.code, "model_invalid");
    assert_non_null(strstr(failure.detail, "generation_config.json"));
    /* Over another link, which is inside. */
    make_model(r->top, "two/far");
    make_link(r->top, "../linked/generation_config.json", "two/far/model.safetensors");
    assert_int_equal(models_resolve(&r->models, "far", &again, &failure), -EINVAL);
    assert_non_null(strstr(failure.detail, "model.safetensors"));
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_no_links, setup, teardown),
        cmocka_unit_test_setup_teardown(test_found, setup, teardown),
        cmocka_unit_test_setup_teardown(test_strangers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_codes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_file_links, setup, teardown),
        cmocka_unit_test(test_job_reference),
    };

    if (argc > 1 && str_equal(argv[1], "without-openat2") && !hide_openat2()) {
        puts("skipped: there is no seccomp to hide openat2() with");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
