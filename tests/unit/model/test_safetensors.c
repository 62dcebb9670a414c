// SPDX-License-Identifier: Apache-2.0
#include "base/cleanup.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/macros.h"
#include "base/str.h"
#include "daemon/model/safetensors/finite.h"
#include "daemon/model/safetensors/safetensors.h"
#include "tests/unit/model/mutate.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cmocka.h>

static char root[] = "/tmp/quantd-test-XXXXXX";
static char path[200];

static int make_root(void **state) {
    (void)state;
    if (!mkdtemp(root))
        return -1;
    snprintf(path, sizeof(path), "%s/x.safetensors", root);
    return 0;
}

static int remove_root(void **state) {
    (void)state;
    return dir_remove(root);
}

static void demo_shard(char ret_path[500], int i) {
    snprintf(ret_path, 500, "%s/data/olmoe-demo/model-0000%d-of-00002.safetensors",
             getenv("QUANTD_SOURCE") ? getenv("QUANTD_SOURCE") : ".", i);
}

/* A file of @header, claimed to have @length bytes, and @n_data zeros. */
static void write_raw(uint64_t length, const char *header, size_t header_size, size_t n_data) {
    struct strbuf buf = {};
    char bytes[8], zero = 0;

    for (int i = 0; i < 8; i++)
        bytes[i] = (char)(length >> 8 * i);
    strbuf_append(&buf, bytes, 8);
    strbuf_append(&buf, header, header_size);
    for (size_t i = 0; i < n_data; i++)
        strbuf_append(&buf, &zero, 1);
    assert_false(buf.failed);
    assert_int_equal(file_replace(path, buf.data, buf.length), 0);
    strbuf_done(&buf);
}

static int open_header(const char *header, size_t n_data, struct failure *f) {
    cleanup(safetensors_freep) struct safetensors *file = NULL;

    write_raw(strlen(header), header, strlen(header), n_data);
    return safetensors_open(NULL, path, &file, f);
}

#define T(name, dtype, shape, offsets)                                                             \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

/* What must be refused: the header, the bytes of data after it, and words of the message. */
static const struct {
    const char *header;
    size_t n_data;
    const char *words;
} bad_headers[] = {
    {"", 0, "expected '{'"},
    {" {}", 0, "expected '{'"},
    {"[]", 0, "expected '{'"},
    {"{", 0, "expected a string"},
    {"{}x", 0, "follows"},
    {"{} {}", 0, "follows"},
    {"{\"\xff\":1}", 0, "UTF-8"},
    {"{\"a\":}", 0, "expected '{'"},
    {"{\"a\"}", 0, "expected ':'"},
    {"{\"a", 0, "no end"},
    {"{\"a\n\":{}}", 0, "control character"},
    {"{\"a\\", 0, "escape"},
    {"{\"a\\u12", 0, "escape"},
    {"{\"a\\q\":{}}", 0, "escape"},
    {"{\"a\\u0000\":{}}", 0, "escape"},
    {"{\"\\ud800\":{}}", 0, "escape"},
    {"{\"\\ud800\\u0041\":{}}", 0, "surrogate"},
    {"{\"\\udc00\":{}}", 0, "escape"},
    {"{\"a\":{}}", 0, "lacks"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "lacks"},
    {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\"}}", 4, "twice"},
    {"{\"a\":{\"x\":1}}", 0, "field"},
    {"{" T("a", "F32", "[1]", "[0,4]") ",}", 4, "expected a string"},
    {"{" T("a", "F32", "[1,]", "[0,4]") "}", 4, "integer"},
    {"{" T("a", "F32", "1", "[0,4]") "}", 4, "expected '['"},
    {"{" T("a", "F32", "[-1]", "[0,4]") "}", 4, "negative"},
    {"{" T("a", "F32", "[1.0]", "[0,4]") "}", 4, "integer"},
    {"{" T("a", "F32", "[1e0]", "[0,4]") "}", 4, "integer"},
    {"{" T("a", "F32", "[01]", "[0,4]") "}", 4, "integer"},
    {"{" T("a", "F32", "[\"1\"]", "[0,4]") "}", 4, "integer"},
    {"{" T("a", "F32", "[1]", "[0]") "}", 4, "two numbers"},
    {"{" T("a", "F32", "[1]", "[0,4,4]") "}", 4, "too many"},
    {"{" T("a", "F32", "[1]", "[-4,0]") "}", 4, "negative"},
    {"{" T("a", "F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, "too many"},
    {"{" T("a", "F32", "[18446744073709551616]", "[0,4]") "}", 4, "64 bits"},
    {"{" T("a", "F8_E4M3", "[4]", "[0,4]") "}", 4, "'a' has dtype 'F8_E4M3'"},
    {"{\"a\":{\"dtype\":1,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "expected a string"},
    /* InvalidOffset: holes, overlaps, backwards, past the end */
    {"{" T("a", "F32", "[1]", "[4,8]") "}", 8, "hole"},
    {"{" T("a", "F32", "[1]", "[0,4]") "," T("b", "F32", "[1]", "[8,12]") "}", 12, "hole"},
    {"{" T("a", "F32", "[2]", "[0,8]") "," T("b", "F32", "[1]", "[4,8]") "}", 8, "overlaps"},
    {"{" T("a", "F32", "[1]", "[0,4]") "," T("b", "F32", "[1]", "[0,4]") "}", 4, "overlaps"},
    {"{" T("a", "F32", "[1]", "[4,0]") "}", 4, "ends before"},
    {"{" T("a", "F32", "[2]", "[0,8]") "}", 4, "after the end"},
    {"{" T("a", "F32", "[1]", "[0,18446744073709551615]") "}", 4, "after the end"},
    /* MetadataIncompleteBuffer */
    {"{" T("a", "F32", "[1]", "[0,4]") "}", 5, "after the last"},
    {"{}", 1, "after the last"},
    /* TensorInvalidInfo, ValidationOverflow */
    {"{" T("a", "F32", "[2]", "[0,4]") "}", 4, "another number"},
    {"{" T("a", "F32", "[0]", "[0,4]") "}", 4, "another number"},
    {"{" T("a", "F32", "[9223372036854775808,2]", "[0,0]") "}", 0, "overflows"},
    {"{" T("a", "F64", "[4611686018427387904]", "[0,0]") "}", 0, "overflows"},
    {"{" T("a", "U8", "[4294967296,4294967296,0]", "[0,0]") "}", 0, "overflows"},
    /* the same name twice, once behind an escape */
    {"{" T("a", "F32", "[1]", "[0,4]") "," T("a", "F32", "[1]", "[4,8]") "}", 8, "'a' is there"},
    {"{" T("a", "U8", "[1]", "[0,1]") "," T("\\u0061", "U8", "[1]", "[1,2]") "}", 2, "twice"},
    {"{\"__metadata__\":{\"a\":1}}", 0, "expected a string"},
    {"{\"__metadata__\":[]}", 0, "expected '{'"},
    {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "twice"},
};

static void test_bad_headers(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad_headers); i++) {
        struct failure f = {};

        assert_int_equal(open_header(bad_headers[i].header, bad_headers[i].n_data, &f), -EBADMSG);
        assert_string_equal(f.code, "model_invalid");
        if (!strstr(f.detail, bad_headers[i].words))
            fail_msg("header %zu: '%s' does not say '%s'", i, f.detail, bad_headers[i].words);
    }
}

static void expect_bad(const char *words) {
    cleanup(safetensors_freep) struct safetensors *file = NULL;
    struct failure f = {};

    assert_int_equal(safetensors_open(NULL, path, &file, &f), -EBADMSG);
    if (!strstr(f.detail, words))
        fail_msg("'%s' does not say '%s'", f.detail, words);
}

/* HeaderTooSmall, InvalidHeaderLength, HeaderTooLarge, a NUL, a long name. */
static void test_bad_lengths(void **state) {
    struct strbuf buf = {};

    (void)state;
    assert_int_equal(file_replace(path, "", 0), 0);
    expect_bad("too short");
    assert_int_equal(file_replace(path, "\2\0\0\0\0\0\0", 7), 0);
    expect_bad("too short");
    write_raw(3, "{}", 2, 0);
    expect_bad("more bytes than the file");
    write_raw(100000000, "{}", 2, 0);
    expect_bad("more bytes than the file");
    write_raw(100000001, "{}", 2, 0);
    expect_bad("100 MB");
    write_raw(UINT64_MAX, "{}", 2, 0);
    expect_bad("100 MB");
    write_raw(UINT64_MAX - 7, "{}", 2, 0);
    expect_bad("100 MB");
    write_raw(4, "{}\0 ", 4, 0);
    expect_bad("follows");
    strbuf_puts(&buf, "{\"");
    for (int i = 0; i < 1025; i++)
        strbuf_puts(&buf, "n");
    strbuf_puts(&buf, "\":{}}");
    write_raw(buf.length, buf.data, buf.length, 0);
    expect_bad("too long");
    strbuf_done(&buf);
}

static void test_good_headers(void **state) {
    static const char header[] =
        "{ \"z\\u00e9\\ud83d\\ude00\\n\" : { \"shape\":[ ] , \"data_offsets\":[4,8],"
        "\"dtype\":\"F32\"}, \"__metadata__\":{\"format\":\"pt\",\"k\":\"\"},\n" T(
            "e", "F32", "[0,7]", "[4,4]") "," T("a", "BF16", "[1,2]", "[0,4]") "}   ";
    cleanup(safetensors_freep) struct safetensors *file = NULL;
    const struct tensor *scalar, *empty;
    struct failure f = {};

    (void)state;
    write_raw(strlen(header), header, strlen(header), 8);
    if (safetensors_open(NULL, path, &file, &f))
        fail_msg("%s", f.detail);
    assert_int_equal(safetensors_n_tensors(file), 3);
    assert_string_equal(safetensors_at(file, 0)->name, "a");
    assert_int_equal(safetensors_at(file, 0)->size, 4);
    assert_int_equal(safetensors_at(file, 0)->shape[1], 2);
    empty = safetensors_find(file, "e");
    assert_int_equal(empty->n, 0);
    scalar = safetensors_find(file, "z\xc3\xa9\xf0\x9f\x98\x80\n");
    assert_non_null(scalar);
    assert_int_equal(scalar->n_dims, 0);
    assert_int_equal(scalar->n, 1);
    assert_null(safetensors_find(file, "b"));
    assert_null(safetensors_find(file, "__metadata__"));
    assert_int_equal(open_header("{}", 0, &f), 0);
}

static void test_not_a_file(void **state) {
    cleanup(safetensors_freep) struct safetensors *file = NULL;
    struct failure f = {};

    (void)state;
    assert_int_equal(safetensors_open(NULL, "/nonexistent/x", &file, &f), -ENOENT);
    assert_int_equal(safetensors_open(NULL, root, &file, &f), -EISDIR);
    assert_int_equal(safetensors_open(NULL, "/dev/null", &file, &f), -EINVAL);
}

static const float values[6] = {1, 2, 3, 4, 5, 6};

static const struct tensor some[] = {
    {"z", DTYPE_F32, 2, {2, 3}, 6, 24, values},
    {"a\"\\\xc3\xa9\x01", DTYPE_BF16, 1, {3}, 3, 6, values},
    {"empty", DTYPE_I32, 1, {0}, 0, 0, NULL},
    {"scalar", DTYPE_U8, 0, {}, 1, 1, values},
};

static void test_round_trip(void **state) {
    cleanup(safetensors_freep) struct safetensors *file = NULL;
    cleanup(freep) char *first = NULL, *second = NULL;
    size_t first_size, second_size, data_size;
    struct failure f = {};
    uint64_t size = 0;
    struct stat st;

    (void)state;
    assert_int_equal(safetensors_write(path, some, ARRAY_SIZE(some), NULL, &size, &f), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, size);
    assert_int_equal(file_read(path, 1 << 20, &first, &first_size), 0);
    assert_int_equal((size_t)first[0] % 8, 0);
    assert_int_equal(safetensors_write(path, some, ARRAY_SIZE(some), NULL, NULL, &f), 0);
    assert_int_equal(file_read(path, 1 << 20, &second, &second_size), 0);
    assert_int_equal(first_size, second_size);
    assert_memory_equal(first, second, first_size);

    if (safetensors_open(NULL, path, &file, &f))
        fail_msg("%s", f.detail);
    assert_int_equal(safetensors_n_tensors(file), ARRAY_SIZE(some));
    for (size_t i = 0; i < ARRAY_SIZE(some); i++) {
        const struct tensor *t = safetensors_find(file, some[i].name);

        assert_non_null(t);
        assert_int_equal(t->dtype, some[i].dtype);
        assert_int_equal(t->n_dims, some[i].n_dims);
        assert_int_equal(t->n, some[i].n);
        assert_int_equal(t->size, some[i].size);
        if (t->size)
            assert_memory_equal(t->data, some[i].data, t->size);
    }
    assert_ptr_equal(safetensors_data(file, &data_size), safetensors_at(file, 0)->data);
    assert_int_equal(data_size, 31);
}

/* The shards of the shipped model, read and written again, are the same bytes. */
static void test_rewrite_demo(void **state) {
    (void)state;
    for (int i = 1; i <= 2; i++) {
        cleanup(safetensors_freep) struct safetensors *file = NULL;
        cleanup(freep) struct tensor *tensors = NULL;
        char demo[500], before[SHA256_TEXT_SIZE], after[SHA256_TEXT_SIZE];
        uint64_t size_before, size, size_after;
        struct failure f = {};
        size_t n;

        demo_shard(demo, i);
        if (safetensors_open(NULL, demo, &file, &f))
            fail_msg("%s", f.detail);
        n = safetensors_n_tensors(file);
        tensors = calloc(n, sizeof(*tensors));
        assert_non_null(tensors);
        for (size_t j = 0; j < n; j++)
            tensors[j] = *safetensors_at(file, j);
        assert_int_equal(safetensors_write(path, tensors, n, NULL, &size, &f), 0);
        assert_int_equal(sha256_of_file(demo, before, &size_before), 0);
        assert_int_equal(sha256_of_file(path, after, &size_after), 0);
        assert_int_equal(size, size_before);
        assert_int_equal(size, size_after);
        assert_string_equal(before, after);
    }
}

static void test_write_failures(void **state) {
    const struct tensor wrong[] = {{"w", DTYPE_F32, 1, {2}, 2, 4, values}};
    struct rlimit old, small = {.rlim_cur = 40};
    struct failure f = {};
    char missing[260];

    (void)state;
    unlink(path);
    assert_int_equal(safetensors_write(path, wrong, 1, NULL, NULL, &f), -EINVAL);
    snprintf(missing, sizeof(missing), "%s/no/x", root);
    assert_int_equal(safetensors_write(missing, some, 1, NULL, NULL, &f), -ENOENT);
    assert_non_null(strstr(f.detail, missing));

    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small.rlim_max = old.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_int_equal(safetensors_write(path, some, ARRAY_SIZE(some), NULL, NULL, &f), -EFBIG);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(access(path, F_OK), -1);
    snprintf(missing, sizeof(missing), "%s.tmp", path);
    assert_int_equal(access(missing, F_OK), -1);
}

/* A full disk, for which /dev/full stands in, gives the code that jobs report. */
static void test_disk_full(void **state) {
    static const char big[1 << 16];
    const struct tensor tensor = {"big", DTYPE_U8, 1, {sizeof(big)}, sizeof(big), sizeof(big), big};
    struct failure f = {};
    char target[260];

    (void)state;
    snprintf(target, sizeof(target), "%s/full.safetensors", root);
    snprintf(path, sizeof(path), "%s/full.safetensors.tmp", root);
    assert_int_equal(symlink("/dev/full", path), 0);
    assert_int_equal(safetensors_write(target, &tensor, 1, NULL, NULL, &f), -ENOSPC);
    assert_string_equal(f.code, "disk_full");
    assert_true(f.retryable);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(access(target, F_OK), -1);
    snprintf(path, sizeof(path), "%s/x.safetensors", root);
}

/* Reads the ends of every tensor, so that a sanitizer sees one that lies outside. */
static unsigned int touch(const struct safetensors *file) {
    unsigned int sum = 0;

    for (size_t i = 0; i < safetensors_n_tensors(file); i++) {
        const struct tensor *tensor = safetensors_at(file, i);
        const volatile unsigned char *bytes = tensor->data;

        assert_ptr_equal(safetensors_find(file, tensor->name), tensor);
        if (tensor->size)
            sum += bytes[0] + bytes[tensor->size - 1];
    }
    return sum;
}

/* To path, without the wait for a disk that file_replace() has. */
static void write_unsynced(const char *data, size_t size) {
    cleanup(fclosep) FILE *file = fopen(path, "we");

    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
}

#define N_MUTATIONS 5000

/* The header of the shipped model, damaged in every way: refused or read, never a crash. */
static void test_mutations(void **state) {
    cleanup(freep) char *whole = NULL, *text = NULL;
    uint64_t seed = 20240924;
    char demo[500];
    size_t size, head, n_read = 0;

    (void)state;
    demo_shard(demo, 2);
    assert_int_equal(file_read(demo, 1 << 24, &whole, &size), 0);
    head = 8 + (unsigned char)whole[0] + 256 * (size_t)(unsigned char)whole[1];
    text = malloc(head);
    assert_non_null(text);
    for (int i = 0; i < N_MUTATIONS; i++) {
        cleanup(safetensors_freep) struct safetensors *file = NULL;
        bool is_cut = i % 8 == 0;
        struct failure f = {};

        memcpy(text, whole, head);
        if (i % 16 != 0)
            mutate(text, head, &seed);
        if (i % 16 == 1) /* the length, which a uniform choice would hardly hit */
            text[next_random(&seed) % 8] ^= (char)next_random(&seed);
        write_unsynced(text, head);
        /* the data is a hole in the file: it is not read */
        assert_int_equal(truncate(path, is_cut ? next_random(&seed) % size : size), 0);
        if (safetensors_open(NULL, path, &file, &f) == 0) {
            touch(file);
            n_read++;
        } else {
            assert_true(f.code[0] && f.detail[0]);
        }
    }
    assert_in_range(n_read, 1, N_MUTATIONS / 4);
}

/* A shard that is cut short while it is written from is the model's fault, not the disk's. */
static void test_cut_while_written(void **state) {
    static unsigned char bytes[1 << 16];
    const struct tensor tensor = {.name = "x",
                                  .dtype = DTYPE_I8,
                                  .n_dims = 1,
                                  .shape = {sizeof(bytes)},
                                  .n = sizeof(bytes),
                                  .size = sizeof(bytes),
                                  .data = bytes};
    cleanup(safetensors_freep) struct safetensors *file = NULL;
    cleanup(freep) char *copy = str_format("%s.copy", path);
    struct failure f = {};

    (void)state;
    assert_int_equal(safetensors_write(path, &tensor, 1, NULL, NULL, &f), 0);
    assert_int_equal(safetensors_open(NULL, path, &file, &f), 0);
    assert_int_equal(truncate(path, 5000), 0);
    assert_int_equal(safetensors_write(copy, safetensors_at(file, 0), 1, NULL, NULL, &f), -EBADMSG);
    assert_string_equal(f.code, "model_invalid");
    assert_int_equal(access(copy, F_OK), -1);
}

/* One Inf or NaN anywhere is found, also at the edges of what threads share. */
static void test_finite(void **state) {
    static const struct {
        enum dtype dtype;
        size_t size;
        uint32_t inf, nan, largest;
    } types[] = {{DTYPE_F32, 4, 0x7f800000, 0xffc00000, 0x7f7fffff},
                 {DTYPE_F16, 2, 0x7c00, 0xfe00, 0x7bff},
                 {DTYPE_BF16, 2, 0x7f80, 0xffc0, 0x7f7f}};
    enum { SHARE = 4 << 20, N = 2 * SHARE + 5 };
    static const size_t at[] = {0, 1, SHARE - 1, SHARE, 2 * SHARE - 1, 2 * SHARE, N - 1};
    cleanup(freep) unsigned char *data = calloc(N, 4);
    struct tensor t = {.name = "x", .n_dims = 1, .n = N, .data = data};

    (void)state;
    assert_non_null(data);
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        t.dtype = types[i].dtype;
        for (size_t j = 0; j < ARRAY_SIZE(at); j++) {
            unsigned char *value = data + at[j] * types[i].size;

            memcpy(value, &types[i].inf, types[i].size);
            assert_false(tensor_is_finite(&t));
            memcpy(value, &types[i].nan, types[i].size);
            assert_false(tensor_is_finite(&t));
            memcpy(value, &types[i].largest, types[i].size);
            assert_true(tensor_is_finite(&t));
        }
        memset(data, 0, N * 4);
    }
    t.n = 0;
    assert_true(tensor_is_finite(&t));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_headers),    cmocka_unit_test(test_bad_lengths),
        cmocka_unit_test(test_good_headers),   cmocka_unit_test(test_not_a_file),
        cmocka_unit_test(test_round_trip),     cmocka_unit_test(test_rewrite_demo),
        cmocka_unit_test(test_write_failures), cmocka_unit_test(test_disk_full),
        cmocka_unit_test(test_mutations),      cmocka_unit_test(test_cut_while_written),
        cmocka_unit_test(test_finite),
    };

    return cmocka_run_group_tests(tests, make_root, remove_root);
}
