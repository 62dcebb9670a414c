// SPDX-License-Identifier: Apache-2.0
/* The small files of a model folder: found, missing, and not what they should be. */
#include "base/cleanup.h"
#include "base/file.h"
#include "base/str.h"
#include "daemon/data/companions.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/quantd-companions-XXXXXX";

static const struct companion *find(const char *name) {
    for (int i = 0; i < n_companions; i++) {
        if (str_equal(companions[i].name, name))
            return &companions[i];
    }
    fail_msg("no companion '%s'", name);
    return NULL;
}

static void put(const char *name, const char *data, size_t size) {
    cleanup(freep) char *path = str_format("%s/%s", dir, name);

    assert_int_equal(file_replace(path, data, size), 0);
}

static void drop(const char *name) {
    cleanup(freep) char *path = str_format("%s/%s", dir, name);

    assert_int_equal(dir_remove(path), 0);
}

static void test_read(void **state) {
    static const char template[] = "{{ a }}\n\0{% b %}";
    cleanup(freep) char *data = NULL;
    struct failure failure = {};
    size_t size = 0;

    (void)state;
    put("chat_template.jinja", template, sizeof(template));
    assert_int_equal(companion_read(find("chat_template.jinja"), NULL, dir, &data, &size, &failure),
                     0);
    assert_int_equal(size, sizeof(template));
    assert_memory_equal(data, template, size);
    assert_int_equal(companions_check(NULL, dir, &failure), 0);
    drop("chat_template.jinja");
    free(data);
    data = NULL;
    assert_int_equal(companion_read(find("chat_template.jinja"), NULL, dir, &data, &size, &failure),
                     -ENOENT);
    assert_int_equal(companions_check(NULL, dir, &failure), 0);
}

static void expect_invalid(const char *words) {
    struct failure failure = {};

    assert_int_equal(companions_check(NULL, dir, &failure), -EBADMSG);
    assert_string_equal(failure.code, "model_invalid");
    assert_non_null(strstr(failure.detail, words));
}

static void test_wrong(void **state) {
    cleanup(freep) char *path = str_format("%s/vocab.json", dir);

    (void)state;
    put("generation_config.json", "secret", 6);
    expect_invalid("generation_config.json");
    put("generation_config.json", "{}", 2);
    assert_int_equal(mkfifo(path, 0600), 0);
    expect_invalid("no regular file");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    expect_invalid("no regular file");
    drop("vocab.json");
    put("vocab.json", "{}", 2);
    assert_int_equal(truncate(path, COMPANION_BYTES_MAX + 1), 0);
    expect_invalid("no regular file");
    drop("vocab.json");
}

static int make_dir(void **state) {
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state) {
    (void)state;
    return dir_remove(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_wrong),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
