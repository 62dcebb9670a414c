// SPDX-License-Identifier: Apache-2.0
/* What lies in the folder of a job that never ran: taken, moved away, or removed. */
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "daemon/executor/leftover.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char top[64];

static void put(const char *dir, const char *name, const char *text) {
    cleanup(freep) char *path = str_format("%s/%s", dir, name);

    assert_int_equal(file_replace(path, text, strlen(text)), 0);
}

static bool is_there(const char *dir, const char *name) {
    cleanup(freep) char *path = str_format("%s%s", dir, name);

    return access(path, F_OK) == 0;
}

/* TOP/1 with a finished checkpoint of 4 bits and windows of 64, and its codes. */
static char *make_finished(void) {
    char *dir = str_format("%s/1", top);
    cleanup(freep) char *artifact = str_format("%s/artifact", dir);
    cleanup(freep) char *codes = str_format("%s/codes", dir);

    assert_int_equal(dir_make(artifact), 0);
    assert_int_equal(dir_make(codes), 0);
    put(codes, "layer", "123");
    put(codes, "manifest.json", "{\"files\": [{\"name\": \"layer\", \"bytes\": 3}]}");
    put(dir, "result.json", "{\"artifacts\": [], \"perplexity\": {}}");
    put(artifact, "quantd.json",
        "{\"params\": {\"model\": \"m\", \"wbits\": 4, \"seqlen\": 64, \"batch\": 2}}");
    put(artifact, "weights", "12345");
    put(artifact, "manifest.json", "{\"files\": [{\"name\": \"weights\", \"bytes\": 5}]}");
    return dir;
}

static int setup(void **state) {
    (void)state;
    strcpy(top, "/tmp/quantd-test-XXXXXX");
    return mkdtemp(top) ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    return dir_remove(top);
}

/* Settles the folder @dir for a job of @kind with @params. */
static void settle(const char *dir, const char *kind, const char *params) {
    struct job_row row = {.id = 1, .kind = (char *)kind};
    struct failure failure = {};

    row.params = json_loads(params, 0, NULL);
    assert_non_null(row.params);
    assert_int_equal(leftover_settle(&row, dir, &failure), 0);
    json_decref(row.params);
}

static void test_taken(void **state) {
    static const char *const same[] = {
        "{\"model\": \"m\", \"wbits\": 4, \"seqlen\": null, \"batch\": null}",
        "{\"model\": \"m\", \"wbits\": 4, \"seqlen\": 64, \"batch\": 0}",
    };
    cleanup(freep) char *dir = make_finished();

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(same); i++) {
        settle(dir, "quantize", same[i]);
        assert_true(is_there(dir, "/artifact/weights") && is_there(dir, "/result.json"));
    }
    cleanup(freep) char *list = str_format("%s/codes/manifest.json", dir);

    assert_int_equal(unlink(list), 0); /* an earlier version wrote none */
    settle(dir, "quantize", same[0]);
    assert_true(is_there(dir, "/codes/layer"));
    assert_false(is_there(dir, ".kept"));
}

static void test_moved(void **state) {
    static const struct {
        const char *kind;
        const char *params, *damage, *text;
    } others[] = {
        {"quantize", "{\"model\": \"m\", \"wbits\": 3}", NULL, NULL},
        {"quantize", "{\"model\": \"n\", \"wbits\": 4}", NULL, NULL},
        {"quantize", "{\"model\": \"m\", \"wbits\": 4, \"seqlen\": 128}", NULL, NULL},
        {"eval", "{\"model\": \"m\", \"wbits\": 4}", NULL, NULL},
        {"quantize", "{\"model\": \"m\", \"wbits\": 4}", "artifact/weights", "1234"},
        {"quantize", "{\"model\": \"m\", \"wbits\": 4}", "artifact/quantd.json", "{"},
        {"quantize", "{\"model\": \"m\", \"wbits\": 4}", "artifact/manifest.json", "[]"},
        {"quantize", "{\"model\": \"m\", \"wbits\": 4}", "codes/layer", "12"},
        {"quantize", "{\"model\": \"m\", \"wbits\": 4}", "result.json", ""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        cleanup(freep) char *dir = make_finished();
        cleanup(freep) char *name = i ? str_format(".kept-%zu", i + 1) : strdup(".kept");
        cleanup(freep) char *weights = str_format("%s/artifact/weights", name);

        if (others[i].damage)
            put(dir, others[i].damage, others[i].text);
        settle(dir, others[i].kind, others[i].params);
        assert_false(is_there(dir, ""));
        assert_true(is_there(dir, weights));
    }
}

static void test_removed(void **state) {
    cleanup(freep) char *dir = make_finished();
    cleanup(freep) char *artifact = str_format("%s/artifact", dir);
    cleanup(freep) char *work = str_format("%s/work", dir);

    (void)state;
    assert_int_equal(rename(artifact, work), 0); /* it was not published yet */
    settle(dir, "quantize", "{\"model\": \"m\", \"wbits\": 4}");
    assert_false(is_there(dir, ""));
    settle(dir, "quantize", "{\"model\": \"m\", \"wbits\": 4}"); /* there is nothing */
    assert_false(is_there(dir, "") || is_there(dir, ".kept"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_taken, setup, teardown),
        cmocka_unit_test_setup_teardown(test_moved, setup, teardown),
        cmocka_unit_test_setup_teardown(test_removed, setup, teardown),
    };

    return cmocka_run_group_tests_name("leftover", tests, NULL, NULL);
}
