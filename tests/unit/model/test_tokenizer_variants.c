// SPDX-License-Identifier: Apache-2.0
/*
 * Variants of one tokenizer, each with what Hugging Face tokenizers gives for the same texts; and
 * words that are long enough to show what a pattern costs.
 */
#include "base/clock.h"
#include "tests/unit/model/tokenizer_check.h"

#include <unistd.h>

#define VARIANTS_PATH "tests/data/tokenizer-variants.json"

static json_t *variants; /* the file */

/* The base with @change in it; models keep what the change does not name. */
static struct tokenizer *open_variant(const json_t *change) {
    cleanup(json_decrefp) json_t *root = json_deep_copy(json_object_get(variants, "base"));
    cleanup(freep) char *text = NULL;
    char path[] = "/tmp/test_tokenizer_XXXXXX";
    struct tokenizer *tokenizer;
    const char *key;
    json_t *value;
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    json_object_foreach((json_t *)change, key, value) {
        if (str_equal(key, "model"))
            json_object_update(json_object_get(root, key), value);
        else
            json_object_set(root, key, value);
    }
    text = json_dumps(root, 0);
    assert_non_null(text);
    assert_int_equal(file_write_all(fd, text, strlen(text)), 0);
    close(fd);
    tokenizer = open_at(path);
    unlink(path);
    return tokenizer;
}

static void check_variant(const char *name, const json_t *variant) {
    cleanup(tokenizer_freep) struct tokenizer *tokenizer =
        open_variant(json_object_get(variant, "change"));
    const json_t *texts = json_object_get(variants, "texts");
    size_t i, k;
    json_t *text, *id;

    print_message("%s\n", name);
    json_array_foreach(texts, i, text) {
        const json_t *ids = json_array_get(json_object_get(variant, "ids"), i);
        cleanup(freep) int32_t *want = calloc(json_array_size(ids) + 1, sizeof(*want));

        json_array_foreach(ids, k, id) {
            want[k] = (int32_t)json_integer_value(id);
        }
        assert_true(k > 0);
        check(tokenizer, json_string_value(text), json_string_length(text), want, k);
    }
    assert_true(i >= 20);
}

static void test_variants(void **state) {
    const char *name;
    json_t *variant;

    (void)state;
    assert_true(json_object_size(json_object_get(variants, "variants")) >= 19);
    json_object_foreach(json_object_get(variants, "variants"), name, variant) {
        check_variant(name, variant);
    }
}

/* @unit again and again, with cl100k's words. */
static void time_giant(const struct tokenizer *tokenizer, const char *unit, size_t n_mib) {
    size_t n = strlen(unit), size = (n_mib << 20) / n * n;
    cleanup(freep) char *text = malloc(size);
    cleanup(encoding_done) struct encoding encoding = {0};
    double start = clock_monotonic();

    for (size_t i = 0; i < size; i += n)
        memcpy(text + i, unit, n);
    encoding = encode(tokenizer, text, size);
    print_message("%zu MiB of '%s': %zu ids in %.2f s\n", n_mib, unit[0] == '\n' ? "newline" : unit,
                  encoding.n, clock_monotonic() - start);
    assert_in_range(encoding.n, 1, size);
    assert_true(clock_monotonic() - start < 60); /* what goes back over and over takes hours */
}

static void test_giant_words(void **state) {
    const json_t *cl100k = json_object_get(json_object_get(variants, "variants"), "cl100k");
    cleanup(tokenizer_freep) struct tokenizer *tokenizer =
        open_variant(json_object_get(cl100k, "change"));

    (void)state;
    time_giant(tokenizer, " ", 4);
    time_giant(tokenizer, "\n", 2);
    time_giant(tokenizer, " \n", 2);
    time_giant(tokenizer, "\u3000", 2);
    time_giant(tokenizer, "'", 2);
    time_giant(tokenizer, "7", 1);
    time_giant(tokenizer, " a", 2);
    time_giant(tokenizer, "-\n", 2);
}

static int read_variants(void **state) {
    cleanup(freep) char *path = path_in(getenv("QUANTD_SOURCE"), VARIANTS_PATH);

    (void)state;
    variants = json_load_file(path, JSON_ALLOW_NUL, NULL);
    return variants ? 0 : -1;
}

static int free_variants(void **state) {
    (void)state;
    json_decref(variants);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_variants),
        cmocka_unit_test(test_giant_words),
    };

    return cmocka_run_group_tests(tests, read_variants, free_variants);
}
