// SPDX-License-Identifier: Apache-2.0
/* Walks below roots that others fill: bounds, links, names, folders that cannot be read. */
#include "daemon/files/walk.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "base/str.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct top {
    char dir[64];
};

static void put(const struct top *top, const char *path) {
    cleanup(freep) char *file = str_format("%s/%s", top->dir, path);
    cleanup(freep) char *dir = strdup(file);

    *strrchr(dir, '/') = '\0';
    assert_int_equal(dir_make(dir), 0);
    assert_int_equal(file_replace(file, "x", 1), 0);
}

static int setup(void **state) {
    struct top *top = calloc(1, sizeof(*top));

    strcpy(top->dir, "/tmp/quantd-test-XXXXXX");
    assert_non_null(mkdtemp(top->dir));
    *state = top;
    return 0;
}

static int teardown(void **state) {
    struct top *top = *state;

    assert_int_equal(dir_remove(top->dir), 0);
    free(top);
    return 0;
}

/* Keeps files called "t..." and folders called "model...". */
static enum walk_answer visit(void *ctx, int dir_fd, const char *name, const char *path,
                              const struct stat *st, int64_t *ret_bytes) {
    (void)ctx, (void)dir_fd, (void)path;
    *ret_bytes = st->st_size;
    if (str_equal(name, "bad"))
        return WALK_FAULT;
    return name[0] == (S_ISDIR(st->st_mode) ? 'm' : 't') ? WALK_KEEP : WALK_ON;
}

static void walk(const struct top *top, const char *below, int root, struct walk *walk) {
    cleanup(freep) char *dir = str_format("%s/%s", top->dir, below);

    walk->visit = visit;
    assert_int_equal(walk_root(walk, dir, root), 0);
}

static void test_finds(void **state) {
    const struct top *top = *state;
    cleanup(walk_done) struct walk w = {};

    put(top, "a/t2");
    put(top, "a/t1");
    put(top, "a/x");
    put(top, "a/.t0");
    put(top, "a/.hidden/t0");
    put(top, "a/b/t3");
    put(top, "a/model/t4");
    put(top, "b/t1");
    walk(top, "b", 1, &w);
    walk(top, "a", 0, &w);
    walk_sort(&w);
    assert_int_equal(w.n, 4);
    assert_string_equal(w.found[0].path, "b/t3");
    assert_string_equal(w.found[1].path, "model");
    assert_string_equal(w.found[2].path, "t1");
    assert_int_equal(w.found[2].root, 0);
    assert_int_equal(w.found[2].bytes, 1);
    assert_string_equal(w.found[3].path, "t2");
    assert_int_equal(w.n_unreadable, 0);
    assert_false(w.truncated);
}

/* Links and pipes are no files; a circle of them is not entered. */
static void test_links(void **state) {
    const struct top *top = *state;
    cleanup(freep) char *circle = str_format("%s/a/circle", top->dir);
    cleanup(freep) char *link = str_format("%s/a/tlink", top->dir);
    cleanup(freep) char *pipe = str_format("%s/a/tpipe", top->dir);
    cleanup(walk_done) struct walk w = {};

    put(top, "a/t1");
    assert_int_equal(symlink("..", circle), 0);
    assert_int_equal(symlink("/etc/passwd", link), 0);
    assert_int_equal(mkfifo(pipe, 0600), 0);
    walk(top, "a", 0, &w);
    assert_int_equal(w.n, 1);
}

static void test_unreadable(void **state) {
    const struct top *top = *state;
    cleanup(walk_done) struct walk w = {};

    put(top, "a/bad");
    put(top, "a/t1");
    walk(top, "a", 0, &w);
    walk(top, "nosuch", 1, &w);
    assert_int_equal(w.n, 1);
    assert_int_equal(w.n_unreadable, 2);
}

static void test_depth(void **state) {
    const struct top *top = *state;
    cleanup(walk_done) struct walk w = {};

    put(top, "a/1/2/3/4/5/t1");
    walk(top, "a", 0, &w);
    assert_int_equal(w.n, 1);
    assert_false(w.truncated);
    put(top, "a/1/2/3/4/5/6/t2");
    walk(top, "a", 0, &w);
    assert_int_equal(w.n, 2);
    assert_true(w.truncated);
}

static void test_many(void **state) {
    const struct top *top = *state;
    cleanup(walk_done) struct walk w = {};
    char path[96];
    int fd;

    put(top, "a/x");
    for (int i = 0; i <= WALK_FOUND_MAX; i++) {
        snprintf(path, sizeof(path), "%s/a/t%d", top->dir, i);
        fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        close(fd);
    }
    walk(top, "a", 0, &w);
    assert_int_equal(w.n, WALK_FOUND_MAX);
    assert_true(w.truncated);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_finds, setup, teardown),
        cmocka_unit_test_setup_teardown(test_links, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unreadable, setup, teardown),
        cmocka_unit_test_setup_teardown(test_depth, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
