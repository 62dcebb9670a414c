// SPDX-License-Identifier: Apache-2.0
#include "base/cache/cache.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#include <cmocka.h>

#define FILE_BYTES 1000

struct fixture {
    char dir[64];
    struct cache cache;
};

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof(*f));

    strcpy(f->dir, "/tmp/quantd-cache-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    assert_int_equal(cache_open(&f->cache, f->dir, 3 * FILE_BYTES, 0), 0);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;

    cache_close(&f->cache);
    assert_int_equal(dir_remove(f->dir), 0);
    free(f);
    return 0;
}

static void name_of(char digit, char ret_name[CACHE_NAME_SIZE]) {
    memset(ret_name, digit, CACHE_NAME_SIZE - 1);
    ret_name[CACHE_NAME_SIZE - 1] = '\0';
}

static int put(struct fixture *f, char digit) {
    struct cache_file file = {};
    char name[CACHE_NAME_SIZE];
    int r = cache_begin(&f->cache, FILE_BYTES, &file);

    name_of(digit, name);
    if (r)
        return r;
    assert_int_equal(ftruncate(file.fd, FILE_BYTES), 0);
    return cache_publish(&f->cache, &file, name);
}

static bool has(struct fixture *f, char digit) {
    cleanup(freep) char *path = NULL;
    char name[CACHE_NAME_SIZE];

    name_of(digit, name);
    path = str_format("%s/%s", f->dir, name);
    return access(path, F_OK) == 0;
}

/* Uses it, at another time than whatever was used before. */
static void use(struct fixture *f, char digit, int when) {
    const struct timespec times[2] = {{.tv_sec = when}, {.tv_sec = when}};
    cleanup(freep) char *path = NULL;
    char name[CACHE_NAME_SIZE];

    name_of(digit, name);
    path = str_format("%s/%s", f->dir, name);
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void expect(struct fixture *f, int files, uint64_t bytes) {
    uint64_t found_bytes;
    int found;

    assert_int_equal(cache_measure(&f->cache, &found, &found_bytes), 0);
    assert_int_equal(found, files);
    assert_int_equal(found_bytes, bytes);
}

static void test_longest_unused_goes(void **state) {
    struct fixture *f = *state;
    char name[CACHE_NAME_SIZE];
    uint64_t size;
    int fd;

    for (int i = 0; i < 3; i++) {
        assert_int_equal(put(f, '1' + i), 0);
        use(f, '1' + i, 100 + i);
    }
    name_of('1', name);
    fd = cache_find(&f->cache, name, &size); /* is used now */
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(size, FILE_BYTES);
    assert_int_equal(put(f, '4'), 0);
    assert_true(has(f, '1') && !has(f, '2') && has(f, '3') && has(f, '4'));
    expect(f, 3, 3 * FILE_BYTES);

    f->cache.limit = FILE_BYTES;
    assert_int_equal(cache_sweep(&f->cache), 0);
    expect(f, 1, FILE_BYTES);
    assert_true(has(f, '4'));
    f->cache.limit = FILE_BYTES - 1;
    assert_int_equal(put(f, '5'), -EFBIG);
    assert_true(has(f, '4')); /* what cannot be kept removes nothing */
    f->cache.limit = 0;
    assert_false(cache_is_on(&f->cache));
    assert_int_equal(cache_sweep(&f->cache), 0);
    expect(f, 0, 0);
}

/* All room but @bytes is to stay free. */
static uint64_t floor_of(const struct fixture *f, uint64_t bytes) {
    struct statvfs st;

    assert_int_equal(statvfs(f->dir, &st), 0);
    return (uint64_t)st.f_bavail * st.f_frsize - bytes;
}

static void test_disk_room(void **state) {
    struct fixture *f = *state;
    struct cache_file file = {};

    assert_int_equal(put(f, '1'), 0);
    f->cache.limit = UINT64_MAX;
    assert_int_equal(cache_begin(&f->cache, UINT64_MAX / 2, &file), -ENOSPC);
    assert_int_equal(cache_begin(&f->cache, UINT64_MAX, &file), -ENOSPC);
    assert_true(has(f, '1'));
    f->cache.floor = floor_of(f, 0) + ((uint64_t)1 << 40);
    assert_int_equal(put(f, '2'), -ENOSPC);
    assert_true(has(f, '1')); /* removing it would not have been enough */
    assert_int_equal(cache_sweep(&f->cache), -ENOSPC);
    assert_false(has(f, '1'));
}

/* A file that is begun counts, and goes once its writer has gone. */
static void test_killed_writer(void **state) {
    struct fixture *f = *state;
    struct cache_file mine = {};
    int status;
    pid_t child;

    assert_int_equal(cache_begin(&f->cache, FILE_BYTES, &mine), 0);
    child = fork();
    if (child == 0) {
        struct cache_file file = {};

        if (cache_begin(&f->cache, FILE_BYTES, &file))
            _exit(1);
        raise(SIGKILL);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    expect(f, 2, 2 * FILE_BYTES);
    assert_int_equal(cache_sweep(&f->cache), 0);
    expect(f, 1, FILE_BYTES);
    cache_abandon(&mine);
    expect(f, 0, 0);
}

/* What is not a file of ours is neither used nor removed. */
static void test_strangers(void **state) {
    struct fixture *f = *state;
    cleanup(freep) char *link = NULL, *dir = NULL, *other = NULL;
    char name[CACHE_NAME_SIZE];
    uint64_t size;

    name_of('a', name);
    link = str_format("%s/%s", f->dir, name);
    assert_int_equal(symlink("/dev/zero", link), 0);
    assert_int_equal(cache_find(&f->cache, name, &size), -ELOOP);
    name_of('b', name);
    dir = str_format("%s/%s", f->dir, name);
    assert_int_equal(mkdir(dir, 0700), 0);
    assert_int_equal(cache_find(&f->cache, name, &size), -EINVAL);
    name_of('c', name);
    assert_int_equal(cache_find(&f->cache, name, &size), -ENOENT);
    other = str_format("%s/notes", f->dir);
    assert_int_equal(file_replace(other, "x", 1), 0);
    f->cache.limit = 0;
    assert_int_equal(cache_sweep(&f->cache), 0);
    assert_int_equal(access(other, F_OK), 0);
    assert_int_equal(access(dir, F_OK), 0);
    expect(f, 0, 0);
}

/* A folder is known by its id, which stays. */
static void test_join(void **state) {
    struct fixture *f = *state;
    struct cache again = {}, joined = {};
    cleanup(freep) char *id = str_format("%s/id", f->dir);

    assert_int_equal(cache_open(&again, f->dir, 1, 0), 0);
    assert_string_equal(again.id, f->cache.id);
    cache_close(&again);
    assert_int_equal(cache_join(&joined, f->dir, f->cache.id, 1, 0), 0);
    assert_true(cache_is_on(&joined));
    cache_close(&joined);
    assert_int_equal(cache_join(&joined, f->dir, "00", 1, 0), -ENOENT);
    assert_false(cache_is_on(&joined));
    assert_int_equal(cache_join(&joined, "/nonexistent", f->cache.id, 1, 0), -ENOENT);
    assert_int_equal(file_replace(id, "../../x", 7), 0);
    assert_int_equal(cache_join(&joined, f->dir, "../../x", 1, 0), -ENOENT);
    assert_int_equal(cache_open(&again, f->dir, 1, 0), 0); /* has a new one */
    assert_int_equal(strlen(again.id), CACHE_ID_SIZE - 1);
    cache_close(&again);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_longest_unused_goes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_disk_room, setup, teardown),
        cmocka_unit_test_setup_teardown(test_killed_writer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_strangers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_join, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
