// SPDX-License-Identifier: Apache-2.0
#include "base/checked.h"
#include "base/clock.h"
#include "base/dtype.h"
#include "base/failure.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/str.h"
#include "base/task.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static void test_half_round_trip(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++) {
        float f = f16_to_f32(h);

        if (isnan(f))
            assert_true(isnan(f16_to_f32(f32_to_f16(f))));
        else
            assert_int_equal(f32_to_f16(f), h);
        f = bf16_to_f32(h);
        if (isnan(f))
            assert_true(isnan(bf16_to_f32(f32_to_bf16(f))));
        else
            assert_int_equal(f32_to_bf16(f), h);
    }
}

/* Every float between two neighbours goes to the nearer one, halves to the even one. */
static void test_half_rounding(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 0x7bff; h++) {
        float low = f16_to_f32(h), high = f16_to_f32(h + 1), middle = (low + high) / 2;

        assert_int_equal(f32_to_f16(middle), h + (h & 1));
        assert_int_equal(f32_to_f16(nextafterf(middle, 0)), h);
        assert_int_equal(f32_to_f16(nextafterf(middle, 1e9f)), h + 1);
        assert_int_equal(f32_to_f16(-nextafterf(middle, 0)), h | 0x8000);
    }
    assert_int_equal(f32_to_f16(65519.0f), 0x7bff);
    assert_int_equal(f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(f32_to_f16(1e10f), 0x7c00);
    assert_int_equal(f32_to_bf16(1.00390625f), 0x3f80);
    assert_int_equal(f32_to_bf16(1.01171875f), 0x3f82);
}

static void test_checked(void **state) {
    size_t n = 7;

    (void)state;
    assert_true(checked_mul(SIZE_MAX / 2 + 1, 2, &n));
    assert_true(checked_add(SIZE_MAX, 1, &n));
    assert_int_equal(n, 7);
    assert_false(checked_mul(6, 7, &n));
    assert_int_equal(n, 42);
}

static void test_str(void **state) {
    char hostile[] = "a\xff\n\xc3\xa9\xed\xa0\x80";
    struct strbuf buf = {};
    uint64_t u;
    double d;
    char *s;

    (void)state;
    str_make_printable(hostile);
    assert_string_equal(hostile, "a??\xc3\xa9???");
    assert_int_equal(str_parse_u64("18446744073709551615", UINT64_MAX, &u), 0);
    assert_true(u == UINT64_MAX);
    assert_int_equal(str_parse_u64("18446744073709551616", UINT64_MAX, &u), -ERANGE);
    assert_int_equal(str_parse_u64("-1", 10, &u), -EINVAL);
    assert_int_equal(str_parse_u64("1x", 10, &u), -EINVAL);
    assert_int_equal(str_parse_u64("", 10, &u), -EINVAL);
    assert_int_equal(str_parse_double("0.01", &d), 0);
    assert_int_equal(str_parse_double("nan", &d), -EINVAL);
    assert_int_equal(str_parse_double("1e999", &d), -EINVAL);
    assert_true(str_is_safe_name("model-00001-of-00004.safetensors"));
    assert_false(str_is_safe_name(".."));
    assert_false(str_is_safe_name("a/b"));
    assert_false(str_is_safe_name(""));

    for (int i = 0; i < 1000; i++)
        strbuf_printf(&buf, "%d,", i);
    s = strbuf_steal(&buf);
    assert_int_equal(strlen(s), 3890);
    free(s);
    s = strbuf_steal(&buf);
    assert_string_equal(s, "");
    free(s);
}

static void test_failure(void **state) {
    struct failure f = {};

    (void)state;
    assert_int_equal(failure_errno(&f, -ENOSPC, "cannot write", "x\ny"), -ENOSPC);
    assert_string_equal(f.code, "disk_full");
    assert_string_equal(f.detail, "cannot write 'x?y': No space left on device");
    assert_true(f.retryable);
    assert_int_equal(failure_set(NULL, -EINVAL, "x", NULL, "y"), -EINVAL);
    /* A name that is too long is cut inside its last character. */
    failure_field(&f, "0123456789012345678901234567890\u00e9", NULL, "unknown field");
    assert_string_equal(f.field, "0123456789012345678901234567890");
    failure_field(&f, "012345678901234567890123456789\u00e9", NULL, "unknown field");
    assert_string_equal(f.field, "012345678901234567890123456789?");
}

static void test_json(void **state) {
    struct failure f = {};
    char deep[200];
    json_t *value = NULL;

    (void)state;
    memset(deep, '[', 100);
    memset(deep + 100, ']', 100);
    assert_int_equal(json_parse(deep, 200, "deep", "bad", &value, &f), -EBADMSG);
    assert_int_equal(json_parse("{\"a\":1,\"a\":2}", 13, "twice", "bad", &value, &f), -EBADMSG);
    assert_string_equal(f.code, "bad");
    assert_int_equal(json_parse("{} x", 4, "rest", "bad", &value, &f), -EBADMSG);
    assert_int_equal(json_parse("\"[[[\"", 5, "string", "bad", &value, &f), 0);
    json_decref(value);
}

static void test_files(void **state) {
    char root[] = "/tmp/quantd-test-XXXXXX", path[200], hash[SHA256_TEXT_SIZE];
    char *data;
    size_t size;
    uint64_t bytes;

    (void)state;
    assert_non_null(mkdtemp(root));
    snprintf(path, sizeof(path), "%s/a/b//c", root);
    assert_int_equal(dir_make(path), 0);
    assert_int_equal(dir_make(path), 0);
    snprintf(path, sizeof(path), "%s/a/b/file", root);
    assert_int_equal(file_replace(path, "abc", 3), 0);
    assert_int_equal(file_read(path, 2, &data, &size), -EFBIG);
    assert_int_equal(file_read(path, 3, &data, &size), 0);
    assert_string_equal(data, "abc");
    free(data);
    assert_int_equal(sha256_of_file(path, hash, &bytes), 0);
    assert_int_equal(bytes, 3);
    assert_string_equal(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_int_equal(file_read(root, 100, &data, &size), -EISDIR);
    assert_int_equal(dir_remove(root), 0);
    assert_int_equal(dir_remove(root), 0);
    assert_int_equal(access(root, F_OK), -1);
}

static void expect_digest(enum digest_kind kind, const char *expected) {
    cleanup(digest_freep) struct digest *digest = digest_new(kind);
    char text[DIGEST_TEXT_SIZE];

    digest_update(digest, "a", 1);
    digest_update(digest, "bc", 2);
    digest_finish(digest, text);
    assert_string_equal(text, expected);
}

static void test_digests(void **state) {
    (void)state;
    expect_digest(DIGEST_MD5, "900150983cd24fb0d6963f7d28e17f72");
    expect_digest(DIGEST_SHA1, "a9993e364706816aba3e25717850c26c9cd0d89d");
    expect_digest(DIGEST_SHA256,
                  "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void test_clock(void **state) {
    char text[CLOCK_TEXT_SIZE];

    (void)state;
    clock_format(1795340445678, text);
    assert_string_equal(text, "2026-11-22T09:40:45.678Z");
}

/* RFC 4231, test case 2. */
static void test_hmac(void **state) {
    char text[SHA256_TEXT_SIZE];

    (void)state;
    assert_int_equal(sha256_hmac("Jefe", 4, "what do ya want for nothing?", 28, text), 0);
    assert_string_equal(text, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

/* Each share is run once; one that fails stops its own thread only. */
static int count_share(void *ctx, int i) {
    atomic_int *counts = ctx;

    atomic_fetch_add(&counts[i], 1);
    return i == 30 ? -EIO : 0;
}

static void test_shares(void **state) {
    for (int n = 0; n <= 40; n += 5) {
        atomic_int counts[40] = {};
        int r = tasks_share(count_share, counts, n);

        assert_int_equal(r, n > 30 ? -EIO : 0);
        for (int i = 0; i < n && i <= 30; i++)
            assert_int_equal(counts[i], 1);
    }
    assert_in_range(task_processors(1), 1, 1);
    assert_in_range(task_processors(8), 1, 8);
    (void)state;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hmac),          cmocka_unit_test(test_half_round_trip),
        cmocka_unit_test(test_half_rounding), cmocka_unit_test(test_checked),
        cmocka_unit_test(test_str),           cmocka_unit_test(test_failure),
        cmocka_unit_test(test_json),          cmocka_unit_test(test_files),
        cmocka_unit_test(test_digests),       cmocka_unit_test(test_clock),
        cmocka_unit_test(test_shares),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
