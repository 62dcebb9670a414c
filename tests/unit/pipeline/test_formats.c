// SPDX-License-Identifier: Apache-2.0
/* What a format says that it holds is what it is asked for, and nothing else. */
#include "base/str.h"
#include "daemon/model/arch/olmoe.h"
#include "daemon/pipeline/formats/format.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct quantization_config usual = {
    .present = true, .wbits = 4, .groupsize = 128, .sym = true};

static void test_table(void **state) {
    (void)state;
    assert_true(n_formats > 1);
    for (int i = 0; i < n_formats; i++) {
        struct failure failure = {};

        assert_ptr_equal(format_find(formats[i]->name), formats[i]);
        assert_true(strlen(formats[i]->title) > 0);
        assert_int_equal(format_check(formats[i], &usual, NULL, &failure), 0);
    }
    assert_null(format_find("other"));
    assert_null(format_find(""));
    assert_null(format_find(NULL));
}

/* A format of less than ours. */
static int check(const struct quantization_config *q, const struct model_config *config,
                 struct failure *failure) {
    (void)q;
    if (config && config->hidden_size % 64)
        return failure_set(failure, -EINVAL, "model_unsupported", NULL, "odd sizes");
    return 0;
}

static const int groupsizes[] = {32, 128, 0};

static const struct format_ops narrow = {
    .name = "narrow",
    .holds = {.wbits = 1u << 4 | 1u << 8, .sym = true, .groupsizes = groupsizes},
    .check = check,
};

static void expect_refused(const struct quantization_config *q, const char *words) {
    struct failure failure = {};

    assert_int_equal(format_check(&narrow, q, NULL, &failure), -EINVAL);
    assert_string_equal(failure.field, "format");
    assert_non_null(strstr(failure.detail, words));
    assert_true(strlen(failure.hint) > 0);
}

static void test_holds(void **state) {
    struct quantization_config q = usual;
    struct failure failure = {};

    (void)state;
    assert_int_equal(format_check(&narrow, &q, NULL, &failure), 0);
    q.groupsize = 32;
    assert_int_equal(format_check(&narrow, &q, NULL, &failure), 0);
    q.groupsize = 64;
    expect_refused(&q, "groups of 64 columns");
    q.groupsize = -1;
    expect_refused(&q, "one grid per row");
    q = usual;
    q.wbits = 3;
    expect_refused(&q, "3 bits");
    q = usual;
    q.sym = false;
    expect_refused(&q, "asymmetric grids");
    q = usual;
    q.desc_act = true;
    expect_refused(&q, "not neighbours");
}

static void test_model(void **state) {
    struct model_config config = {.arch = &arch_olmoe, .hidden_size = 96};
    struct failure failure = {};

    (void)state;
    assert_int_equal(format_check(&narrow, &usual, &config, &failure), -EINVAL);
    assert_string_equal(failure.code, "model_unsupported");
    config.hidden_size = 128;
    assert_int_equal(format_check(&narrow, &usual, &config, &failure), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_holds),
        cmocka_unit_test(test_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
