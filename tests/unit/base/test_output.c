// SPDX-License-Identifier: Apache-2.0
/* A large file that is hashed while it is written. */
#include "base/cleanup.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/output/output.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define LARGE ((size_t)3 << 20) /* hashed by a thread of its own */

static char path[64];

static int make_path(void **state) {
    (void)state;
    strcpy(path, "/tmp/test-output-XXXXXX");
    return mkdtemp(path) && strcat(path, "/file") ? 0 : -1;
}

static int remove_path(void **state) {
    (void)state;
    unlink(path);
    *strrchr(path, '/') = '\0';
    return rmdir(path);
}

/* Parts of any size, in their order, and the hash of what is in the file. */
static void test_parts(void **state) {
    cleanup(freep) unsigned char *data = malloc(2 * LARGE);
    cleanup(output_close) struct output output = {};
    cleanup(freep) char *content = NULL;
    char sha256[SHA256_TEXT_SIZE], want[SHA256_TEXT_SIZE];
    size_t size;

    (void)state;
    for (size_t i = 0; i < 2 * LARGE; i++)
        data[i] = (unsigned char)(i * 2654435761u >> 13);
    const struct iovec parts[] = {
        {data, 1}, {data + 1, 0}, {data + 1, LARGE}, {data + 1 + LARGE, LARGE - 100}};

    assert_int_equal(output_open(&output, path, O_EXCL, true, NULL), 0);
    assert_int_equal(output_append(&output, parts, 4), 0);
    assert_int_equal(output_append(&output, NULL, 0), 0);
    assert_int_equal(output_put(&output, data + 2 * LARGE - 99, 99), 0);
    assert_int_equal(output.size, 2 * LARGE);
    assert_int_equal(output_finish(&output, sha256), 0);
    assert_int_equal(file_read(path, 2 * LARGE, &content, &size), 0);
    assert_int_equal(size, 2 * LARGE);
    assert_memory_equal(content, data, size);
    assert_int_equal(sha256_of(data, size, want), 0);
    assert_string_equal(sha256, want);
}

/* A file is replaced when that is asked for, and cut to its new length. */
static void test_flags(void **state) {
    cleanup(output_close) struct output output = {};
    cleanup(freep) char *content = NULL;
    struct failure failure = {};
    size_t size;

    (void)state;
    assert_int_equal(file_replace(path, "before", 6), 0);
    assert_int_equal(output_open(&output, path, O_EXCL, true, &failure), -EEXIST);
    assert_non_null(strstr(failure.detail, path));
    assert_null(output.path);
    assert_int_equal(output_open(&output, path, O_TRUNC, false, &failure), 0);
    assert_int_equal(output_put(&output, "now", 3), 0);
    assert_int_equal(output_finish(&output, NULL), 0);
    assert_int_equal(file_read(path, 100, &content, &size), 0);
    assert_int_equal(size, 3);
}

/* What cannot be written is reported, also while another thread hashes it. */
static void test_full(void **state) {
    static const size_t sizes[] = {100, LARGE};
    cleanup(freep) char *data = calloc(1, LARGE);

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        cleanup(output_close) struct output output = {};
        struct failure failure = {};

        assert_int_equal(output_open(&output, "/dev/full", 0, true, &failure), 0);
        assert_int_equal(output_put(&output, data, sizes[i]), -ENOSPC);
        assert_int_equal(output_failed(&output, -ENOSPC, &failure), -ENOSPC);
        assert_string_equal(failure.code, "disk_full");
        assert_non_null(strstr(failure.detail, "/dev/full"));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_parts, make_path, remove_path),
        cmocka_unit_test_setup_teardown(test_flags, make_path, remove_path),
        cmocka_unit_test_setup_teardown(test_full, make_path, remove_path),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
