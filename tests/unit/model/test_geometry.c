// SPDX-License-Identifier: Apache-2.0
/*
 * Models of other geometries than the demo model's against transformers: fewer kv heads, clipping,
 * renormalized routing, a tied head, absent keys, other float types, odd numbers of experts. The
 * models and the script that made them are in tests/data/geometry.
 */
#include "tests/unit/model/forward.h"
#include "tests/unit/shared.h"

static void compare(const char *name) {
    cleanup(freep) char *folder = str_format("tests/data/geometry/%s", name);
    cleanup(freep) char *dir = source_path(folder);
    cleanup(freep) char *path = str_format("%s/expected.json", dir);
    cleanup(json_decrefp) json_t *expected = NULL;
    struct failure failure = {};

    if (json_parse_file(path, 1 << 20, "reference", &expected, &failure))
        fail_msg("%s", failure.detail);
    forward_compare(dir, expected);
}

static void test_kv_heads(void **state) {
    (void)state;
    compare("kv-heads");
}

static void test_clip_qkv(void **state) {
    (void)state;
    compare("clip");
}

static void test_norm_topk_f16(void **state) {
    (void)state;
    compare("norm-topk");
}

static void test_tied_head_f32(void **state) {
    (void)state;
    compare("tied");
}

static void test_odd_sizes(void **state) {
    (void)state;
    compare("odd");
}

static void test_absent_keys(void **state) {
    (void)state;
    compare("defaults");
}

static void test_all_at_once(void **state) {
    (void)state;
    compare("mixed");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kv_heads),      cmocka_unit_test(test_clip_qkv),
        cmocka_unit_test(test_norm_topk_f16), cmocka_unit_test(test_tied_head_f32),
        cmocka_unit_test(test_odd_sizes),     cmocka_unit_test(test_absent_keys),
        cmocka_unit_test(test_all_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
