// SPDX-License-Identifier: Apache-2.0
/* The one file that torch.load() reads: its ZIP by libzip, its pickle byte by byte. */
#include "base/cleanup.h"
#include "base/hash.h"
#include "base/str.h"
#include "daemon/pipeline/formats/format.h"
#include "daemon/pipeline/formats/zip.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zip.h>

#include <cmocka.h>

static char path[64];

static int make_path(void **state) {
    (void)state;
    strcpy(path, "/tmp/test-pt-XXXXXX");
    return mkdtemp(path) && strcat(path, "/model.pt") ? 0 : -1;
}

static int remove_path(void **state) {
    (void)state;
    unlink(path);
    *strrchr(path, '/') = '\0';
    return rmdir(path);
}

/* The archive at the path, which libzip finds to be consistent when it is asked to look. */
static zip_t *open_archive(int flags) {
    zip_t *archive = zip_open(path, flags | ZIP_RDONLY, NULL);

    assert_non_null(archive);
    return archive;
}

static void expect_record(zip_t *archive, const char *name, const void *data, size_t size) {
    cleanup(freep) char *content = malloc(size + 1);
    zip_file_t *file;
    zip_stat_t st;

    assert_int_equal(zip_stat(archive, name, 0, &st), 0);
    assert_int_equal(st.size, size);
    assert_int_equal(st.comp_method, ZIP_CM_STORE);
    file = zip_fopen(archive, name, 0);
    assert_non_null(file);
    assert_int_equal(zip_fread(file, content, size + 1), size);
    assert_memory_equal(content, data, size);
    assert_int_equal(zip_fclose(file), 0); /* which has compared the CRC */
}

static struct tensor tensor(const char *name, const uint16_t *data, uint64_t rows,
                            uint64_t columns) {
    return (struct tensor){.name = name,
                           .dtype = DTYPE_BF16,
                           .n_dims = columns ? 2 : 1,
                           .shape = {rows, columns},
                           .n = rows * MAX(columns, (uint64_t)1),
                           .size = rows * MAX(columns, (uint64_t)1) * 2,
                           .data = data};
}

#define NEW_DICT "ccollections\nOrderedDict\n)R"

/* As pickletools would have it: (shape [2, 3], strides [3, 1]), then (shape [4], strides [1]). */
static const char pickle[] =
    "\x80\x02" NEW_DICT "(" /* */
    "X\x08\0\0\0a.weight"
    "ctorch._utils\n_rebuild_tensor_v2\n("
    "(X\x07\0\0\0storagectorch\nBFloat16Storage\nX\x01\0\0\0"
    "0X\x03\0\0\0"
    "cpuJ\x06\0\0\0tQ"
    "J\0\0\0\0(J\x02\0\0\0J\x03\0\0\0t(J\x03\0\0\0J\x01\0\0\0t\x89" NEW_DICT "tR"
    "X\x08\0\0\0b.weight"
    "ctorch._utils\n_rebuild_tensor_v2\n("
    "(X\x07\0\0\0storagectorch\nBFloat16Storage\nX\x01\0\0\0"
    "1X\x03\0\0\0"
    "cpuJ\x04\0\0\0tQ"
    "J\0\0\0\0(J\x04\0\0\0t(J\x01\0\0\0t\x89" NEW_DICT "tRu.";

/* Where the data of the record called @name begins, by its local header. */
static size_t data_offset(const char *name) {
    cleanup(freep) unsigned char *bytes = calloc(1, 1 << 16);
    FILE *file = fopen(path, "rb");
    size_t n = fread(bytes, 1, 1 << 16, file), length = strlen(name);

    fclose(file);
    for (size_t i = 0; i + 30 + length < n; i++) {
        if (memcmp(bytes + i, "PK\3\4", 4) == 0 && bytes[i + 26] == length &&
            memcmp(bytes + i + 30, name, length) == 0)
            return i + 30 + length + bytes[i + 28] + 256 * bytes[i + 29];
    }
    fail();
    return 0;
}

static void write_container(const struct shard *shards, size_t n) {
    const struct container_ops *ops = format_pt.container;
    struct failure failure = {};
    const struct format_context c = {.failure = &failure};
    char sha256[SHA256_TEXT_SIZE], want[SHA256_TEXT_SIZE];
    struct container *container;
    uint64_t size, bytes;

    assert_int_equal(ops->open(&c, path, &container), 0);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(ops->add(&c, container, &shards[i]), 0);
    assert_int_equal(ops->finish(&c, container, sha256, &size), 0);
    ops->close(container);
    assert_int_equal(sha256_of_file(path, want, &bytes), 0);
    assert_string_equal(sha256, want);
    assert_int_equal(size, bytes);
}

static void test_file(void **state) {
    static const uint16_t data[10] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 0x3f80};
    struct tensor a = tensor("a.weight", data, 2, 3), b = tensor("b.weight", data + 6, 4, 0);
    const struct shard shards[] = {{.tensors = &a, .n_tensors = 1},
                                   {.tensors = &b, .n_tensors = 1}};
    zip_t *archive;

    (void)state;
    write_container(shards, 2);
    archive = open_archive(ZIP_CHECKCONS);
    assert_int_equal(zip_get_num_entries(archive, 0), 5);
    expect_record(archive, "archive/data/0", data, 12);
    expect_record(archive, "archive/data/1", data + 6, 8);
    expect_record(archive, "archive/data.pkl", pickle, sizeof(pickle) - 1);
    expect_record(archive, "archive/byteorder", "little", 6);
    expect_record(archive, "archive/version", "3\n", 2);
    zip_discard(archive);
    assert_int_equal(data_offset("archive/data/0") % 64, 0);
    assert_int_equal(data_offset("archive/data/1") % 64, 0);
}

/* A tensor of another type is refused before anything is written for it, and no file replaced. */
static void test_refused(void **state) {
    const struct container_ops *ops = format_pt.container;
    struct failure failure = {};
    const struct format_context c = {.failure = &failure};
    struct tensor wrong = tensor("a", (const uint16_t[]){1, 2}, 1, 0);
    const struct shard shard = {.tensors = &wrong, .n_tensors = 1};
    struct container *container;

    (void)state;
    wrong.dtype = DTYPE_F32;
    assert_int_equal(ops->open(&c, path, &container), 0);
    assert_int_equal(ops->add(&c, container, &shard), -EINVAL);
    ops->close(container);
    assert_int_equal(ops->open(&c, path, &container), -EEXIST);
    assert_non_null(strstr(failure.detail, path));
    ops->close(NULL);
}

#define FAR ((uint64_t)5 << 30)

/* Records beyond 4 GiB, after a hole that takes no room on the disk. */
static void test_far(void **state) {
    cleanup(output_close) struct output output = {};
    struct zip_writer zip = {.output = &output};
    zip_t *archive;

    (void)state;
    assert_int_equal(output_open(&output, path, O_EXCL, false, NULL), 0);
    assert_int_equal(zip_writer_add(&zip, &(struct zip_record){"near", "1", 1}, 1), 0);
    output.size = FAR;
    assert_int_equal(lseek(output.fd, FAR, SEEK_SET), FAR);
    assert_int_equal(zip_writer_add(&zip, &(struct zip_record){"far", "22", 2}, 1), 0);
    assert_int_equal(zip_writer_finish(&zip), 0);
    zip_writer_done(&zip);
    archive = open_archive(0);
    assert_int_equal(zip_get_num_entries(archive, 0), 2);
    expect_record(archive, "near", "1", 1);
    expect_record(archive, "far", "22", 2);
    zip_discard(archive);
}

/* More records than 16 bits count. */
static void test_many(void **state) {
    static const int counts[] = {65534, 65535, 65536};
    cleanup(freep) struct zip_record *records = calloc(counts[2], sizeof(*records));
    char(*names)[16] = calloc(counts[2], sizeof(*names));

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
        cleanup(output_close) struct output output = {};
        struct zip_writer zip = {.output = &output};
        zip_t *archive;

        assert_int_equal(output_open(&output, path, O_TRUNC, false, NULL), 0);
        for (int j = 0; j < counts[i]; j++) {
            snprintf(names[j], sizeof(names[j]), "data/%d", j);
            records[j] = (struct zip_record){names[j], names[j], strlen(names[j])};
        }
        assert_int_equal(zip_writer_add(&zip, records, 1), 0);
        assert_int_equal(zip_writer_add(&zip, records + 1, 0), 0);
        assert_int_equal(zip_writer_add(&zip, records + 1, counts[i] - 1), 0);
        assert_int_equal(zip_writer_finish(&zip), 0);
        zip_writer_done(&zip);
        archive = open_archive(ZIP_CHECKCONS);
        assert_int_equal(zip_get_num_entries(archive, 0), counts[i]);
        for (int j = 0; j < counts[i]; j += 4369)
            expect_record(archive, names[j], names[j], strlen(names[j]));
        zip_discard(archive);
    }
    free(names);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_file, make_path, remove_path),
        cmocka_unit_test_setup_teardown(test_refused, make_path, remove_path),
        cmocka_unit_test_setup_teardown(test_far, make_path, remove_path),
        cmocka_unit_test_setup_teardown(test_many, make_path, remove_path),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
