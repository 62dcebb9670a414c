// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/fingerprint/fingerprint.h"
#include "daemon/model/fingerprint/hash_cache.h"
#include "tests/unit/shared.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <cmocka.h>

#define N_BYTES ((size_t)20 << 20) /* more than two steps of a hash */

static char folder[] = "/tmp/quantd-fingerprint-XXXXXX";
static char weights[256], cache_path[256];

static void write_file(const char *path, char fill, size_t size) {
    char *data = malloc(size);

    assert_non_null(data);
    memset(data, fill, size);
    assert_int_equal(file_replace(path, data, size), 0);
    free(data);
}

/* Writes a byte in the middle, in place: no name, size or inode changes. */
static void poke(const char *path, off_t at, char value) {
    int fd = open(path, O_WRONLY);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, &value, 1, at), 1);
    close(fd);
}

/* Makes the file old enough to be relied on; its ctime stays young. */
static struct identity aged(const char *path) {
    struct identity identity;

    assert_int_equal(identity_of_path(NULL, path, &identity), 0);
    identity.mtime_ns -= 3600LL * 1000000000;
    identity.ctime_ns -= 3600LL * 1000000000;
    return identity;
}

static void fingerprint_of(const char *description, const char *cache,
                           char ret_text[SHA256_TEXT_SIZE]) {
    cleanup(fingerprint_freep) struct fingerprint *fingerprint = NULL;
    struct fingerprint_file file = {.name = "w", .path = weights};
    struct failure failure;

    assert_int_equal(identity_of_path(NULL, weights, &file.identity), 0);
    assert_int_equal(fingerprint_start(&file, 1, description, cache, &fingerprint, &failure), 0);
    assert_int_equal(fingerprint_wait(fingerprint, ret_text, &failure), 0);
    assert_true(fingerprint_is_known(fingerprint));
}

/* Another file under the name of the one that was opened is noticed, and so is none. */
static void test_exchanged(void **state) {
    struct fingerprint_file file = {.name = "w", .path = weights};
    char text[SHA256_TEXT_SIZE];

    (void)state;
    for (int missing = 0; missing < 2; missing++) {
        cleanup(fingerprint_freep) struct fingerprint *fingerprint = NULL;
        struct failure failure = {};

        write_file(weights, 'a', 1000);
        assert_int_equal(identity_of_path(NULL, weights, &file.identity), 0);
        write_file(weights, 'a', 1000);
        if (missing)
            unlink(weights);
        assert_int_equal(fingerprint_start(&file, 1, "d", NULL, &fingerprint, &failure), 0);
        assert_int_equal(fingerprint_wait(fingerprint, text, &failure), -ESTALE);
        assert_string_equal(failure.code, "model_changed");
    }
}

/* Every byte counts: also one far from both ends and from the middle. */
static void test_every_byte(void **state) {
    char before[SHA256_TEXT_SIZE], after[SHA256_TEXT_SIZE], again[SHA256_TEXT_SIZE];
    static const off_t at[] = {0, 70000, N_BYTES / 3, N_BYTES / 2 + 100000, N_BYTES - 1};

    (void)state;
    write_file(weights, 'a', N_BYTES);
    fingerprint_of("d", NULL, before);
    fingerprint_of("d", NULL, again);
    assert_string_equal(before, again);
    for (size_t i = 0; i < ARRAY_SIZE(at); i++) {
        poke(weights, at[i], 'b');
        fingerprint_of("d", NULL, after);
        assert_string_not_equal(before, after);
        poke(weights, at[i], 'a');
        fingerprint_of("d", NULL, again);
        assert_string_equal(before, again);
    }
    fingerprint_of("e", NULL, after);
    assert_string_not_equal(before, after);
}

static void test_cache(void **state) {
    struct identity identity, other;
    struct hash_cache cache;
    char found[SHA256_TEXT_SIZE], hash[SHA256_TEXT_SIZE];

    (void)state;
    write_file(weights, 'a', 100);
    identity = aged(weights);
    assert_int_equal(sha256_of("x", 1, hash), 0);
    assert_int_equal(hash_cache_open(cache_path, &cache), 0);
    assert_false(hash_cache_find(&cache, &identity, found));
    hash_cache_put(&cache, &identity, hash);
    hash_cache_close(&cache);

    assert_int_equal(hash_cache_open(cache_path, &cache), 0);
    assert_true(hash_cache_find(&cache, &identity, found));
    assert_string_equal(found, hash);
    other = identity;
    other.ctime_ns++;
    assert_false(hash_cache_find(&cache, &other, found));
    /* A file that was changed a moment ago may change again with the same times. */
    assert_int_equal(identity_of_path(NULL, weights, &other), 0);
    hash_cache_put(&cache, &other, hash);
    assert_false(hash_cache_find(&cache, &other, found));
    hash_cache_close(&cache);
}

/* What is damaged is as good as none. */
static void test_damaged_cache(void **state) {
    static const char *const texts[] = {
        "",
        "{",
        "{}",
        "[1, null, {}]",
        "[{\"inode\":2,\"device\":1,\"size\":3,\"mtime_ns\":4,\"ctime_ns\":5,\"sha256\":\"s\"}]",
    };
    const struct identity identity = {1, 2, 3, 4, 5};
    char found[SHA256_TEXT_SIZE];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct hash_cache cache;

        assert_int_equal(file_replace(cache_path, texts[i], strlen(texts[i])), 0);
        assert_int_equal(hash_cache_open(cache_path, &cache), 0);
        assert_false(hash_cache_find(&cache, &identity, found));
        hash_cache_close(&cache);
    }
}

static void expect_changed(const struct watch *watch, bool changed) {
    struct failure failure = {};

    assert_int_equal(watch_check(watch, &failure), changed ? -ESTALE : 0);
    assert_string_equal(failure.code, changed ? "model_changed" : "");
}

static void test_watch(void **state) {
    cleanup(freep) char *missing = str_format("%s/not-there", folder);
    cleanup(watch_done) struct watch watch = {};
    struct timespec moment = {.tv_nsec = 20000000};

    (void)state;
    write_file(weights, 'a', 1000);
    assert_int_equal(watch_add(&watch, weights, NULL), 0);
    assert_int_equal(watch_add(&watch, missing, NULL), 0);
    expect_changed(&watch, false);

    nanosleep(&moment, NULL); /* a tick of the file system's clock */
    poke(weights, 500, 'b');
    expect_changed(&watch, true);
    watch_done(&watch);

    assert_int_equal(watch_add(&watch, weights, NULL), 0);
    assert_int_equal(watch_add(&watch, missing, NULL), 0);
    write_file(missing, 'c', 1); /* a file that was not there is a change too */
    expect_changed(&watch, true);
    unlink(missing);
    expect_changed(&watch, false);
    write_file(weights, 'a', 1000); /* another file of the same bytes in its place */
    expect_changed(&watch, true);
}

static int setup(void **state) {
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(weights, sizeof(weights), "%s/w", folder);
    snprintf(cache_path, sizeof(cache_path), "%s/cache.json", folder);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    return dir_remove(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_byte), cmocka_unit_test(test_exchanged),
        cmocka_unit_test(test_cache),      cmocka_unit_test(test_damaged_cache),
        cmocka_unit_test(test_watch),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
