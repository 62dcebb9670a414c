// SPDX-License-Identifier: Apache-2.0
/*
 * Every call by which a backup changes its folder fails in turn: it then says why and leaves
 * nothing there, the store goes on, and the next backup is whole.
 */
#include "base/file.h"
#include "base/str.h"
#include "daemon/backup.h"
#include "tests/fault/fault.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define ROWS 3000
#define CALLS_MAX 2000

struct site {
    char dir[64], folder[80];
    struct store *store;
    struct disk disk;
    struct backup backup;
};

static int setup(void **state) {
    static struct site site;
    cleanup(json_decrefp) json_t *empty = json_object(), *data = NULL;
    struct new_job job = {.kind = "eval",
                          .owner = "user",
                          .name = "",
                          .model_dir = "/nowhere",
                          .labels = empty,
                          .request = empty,
                          .params = empty,
                          .created_at = 1};
    struct failure failure;
    int64_t id;

    strcpy(site.dir, "/tmp/quantd-test-XXXXXX");
    assert_non_null(mkdtemp(site.dir));
    snprintf(site.folder, sizeof(site.folder), "%s/backups", site.dir);
    assert_int_equal(dir_make(site.folder), 0);
    assert_int_equal(store_open(site.dir, &site.store, &failure), 0);
    disk_init(&site.disk, site.dir, 0);
    backup_init(&site.backup, site.store, &site.disk, site.dir);
    data = json_pack("{s:s}", "text", "so much that the copy is larger than the cache of pages");
    assert_int_equal(store_begin(site.store, STORE_WRITE, &failure), 0);
    assert_int_equal(store_insert_job(site.store, &job, &id), 0);
    for (int i = 0; i < ROWS; i++)
        assert_int_equal(store_append_event(site.store, id, "progress", 1, data, NULL), 0);
    assert_int_equal(store_end(site.store, 0, &failure), 0);
    *state = &site;
    return 0;
}

static int teardown(void **state) {
    struct site *site = *state;

    backup_done(&site->backup);
    disk_done(&site->disk);
    store_close(site->store);
    return dir_remove(site->dir);
}

/* The state of a new backup when it has ended; the caller's. */
static json_t *run(struct site *site) {
    json_t *state = NULL;
    struct failure failure;

    assert_int_equal(backup_begin(&site->backup, "user", &state, &failure), 0);
    for (int i = 0; i < 20000; i++) {
        json_decref(state);
        assert_int_equal(backup_state(&site->backup, &state, &failure), 0);
        if (!str_equal(json_string_value(json_object_get(state, "status")), "running"))
            return state;
        usleep(1000);
    }
    fail_msg("the backup does not end");
    return NULL;
}

static int count_files(struct site *site) {
    cleanup(closedirp) DIR *dir = opendir(site->folder);
    struct dirent *entry;
    int n = 0;

    assert_non_null(dir);
    while ((entry = readdir(dir)))
        n += entry->d_name[0] != '.';
    return n;
}

static void expect_done(const json_t *state, const char *when) {
    const char *path = json_string_value(json_object_get(state, "path"));
    char sha256[SHA256_TEXT_SIZE];
    uint64_t size;

    if (!str_equal(json_string_value(json_object_get(state, "status")), "done"))
        fail_msg("%s: the backup failed", when);
    assert_int_equal(sha256_of_file(path, sha256, &size), 0);
    assert_string_equal(sha256, json_string_value(json_object_get(state, "sha256")));
    assert_true(size > 4096 * 50);
    assert_int_equal(unlink(path), 0);
}

/* Return: was call @n there to fail? */
static bool fail_at(struct site *site, int n, int error, bool stays) {
    cleanup(json_decrefp) json_t *state = NULL, *again = NULL;
    const json_t *why;
    const char *code;
    char when[128];
    bool failed;

    fault_arm(site->folder, n, error, stays);
    state = run(site);
    fault_disarm();
    snprintf(when, sizeof(when), "call %d (%s), %d", n, fault_name(), error);
    if (!fault_name()[0]) {
        expect_done(state, when);
        return false;
    }
    failed = str_equal(json_string_value(json_object_get(state, "status")), "failed");
    why = json_object_get(state, "error");
    code = json_string_value(json_object_get(why, "code"));
    /* A write that is short is done in two, and what only is to tidy up may fail. */
    if (!failed)
        expect_done(state, when);
    else if (error == ENOSPC ? !str_equal(code, "disk_full")
                             : !str_equal(code, "backup_failed") && !str_equal(code, "io_error"))
        fail_msg("%s: %s '%s'", when, code, json_string_value(json_object_get(why, "detail")));
    if (count_files(site))
        fail_msg("%s: something is left in the folder", when);
    assert_int_equal(dir_remove(site->folder), 0);
    again = run(site);
    expect_done(again, when);
    return true;
}

static void fail_everywhere(struct site *site, int error, bool stays) {
    int n = 1, n_failed = 0;

    while (fail_at(site, n, error, stays)) {
        n += stays ? 3 : 1;
        n_failed++;
        assert_true(n < CALLS_MAX);
    }
    assert_true(n_failed > 10);
    printf("%s%s: %d calls failed in turn\n",
           error == ENOSPC ? "ENOSPC"
           : error == EIO  ? "EIO"
                           : "short",
           stays ? " for good" : "", n_failed);
}

static void test_full(void **state) {
    fail_everywhere(*state, ENOSPC, false);
    fail_everywhere(*state, ENOSPC, true);
}

static void test_errors(void **state) {
    fail_everywhere(*state, EIO, false);
    fail_everywhere(*state, EIO, true);
}

static void test_short(void **state) {
    fail_everywhere(*state, FAULT_SHORT, false);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_short),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
