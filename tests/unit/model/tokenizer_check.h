// SPDX-License-Identifier: Apache-2.0
/* What the tests of the tokenizer share; failures end the running test. */
#pragma once

#include "daemon/model/tokenizer/tokenizer.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/macros.h"
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DEMO_PATH "data/olmoe-demo/tokenizer.json"

/* The path of @name in @folder; the test must run with what names the folder. */
static inline char *path_in(const char *folder, const char *name) {
    char *path;

    assert_non_null(folder);
    path = str_format("%s/%s", folder, name);
    assert_non_null(path);
    return path;
}

static inline char *read_text(const char *path, size_t *ret_size) {
    char *text = NULL;

    if (file_read(path, (size_t)64 << 20, &text, ret_size))
        fail_msg("cannot read '%s'", path);
    return text;
}

static inline struct tokenizer *open_at(const char *path) {
    struct tokenizer *tokenizer = NULL;
    struct failure failure = {0};

    if (tokenizer_open(NULL, path, &tokenizer, &failure))
        fail_msg("%s", failure.detail);
    return tokenizer;
}

struct encoding {
    int32_t *ids;
    size_t n;
};

static inline void encoding_done(struct encoding *encoding) {
    free(encoding->ids);
}

static inline struct encoding encode(const struct tokenizer *tokenizer, const char *text,
                                     size_t size) {
    struct encoding encoding = {0};
    struct failure failure = {0};
    int r = tokenizer_encode(tokenizer, text, size, &encoding.ids, &encoding.n, &failure);

    if (r)
        fail_msg("cannot encode: %s", failure.detail);
    assert_non_null(encoding.ids);
    for (size_t i = 0; i < encoding.n; i++)
        assert_in_range(encoding.ids[i], 0, tokenizer_n_ids(tokenizer) - 1);
    return encoding;
}

/* @text has exactly these @n ids. */
static inline void check(const struct tokenizer *tokenizer, const char *text, size_t size,
                         const int32_t *ids, size_t n) {
    cleanup(encoding_done) struct encoding encoding = encode(tokenizer, text, size);
    size_t i = 0;

    while (i < n && i < encoding.n && ids[i] == encoding.ids[i])
        i++;
    if (n != encoding.n || i < n)
        fail_msg("'%.*s': %zu ids, not %zu; id %zu differs", (int)MIN(size, 200u), text, encoding.n,
                 n, i);
}

#define CHECK_WITH(tokenizer, text, ...)                                                           \
    check(tokenizer, text, sizeof(text) - 1, (const int32_t[]){__VA_ARGS__},                       \
          ARRAY_SIZE(((const int32_t[]){__VA_ARGS__})))

/* The [{"text", "ids"}] of the file at @path, at least @n_least of them. */
static inline void check_cases(const struct tokenizer *tokenizer, const char *path,
                               size_t n_least) {
    /* Texts hold NUL, which the parser for outside input refuses. */
    cleanup(json_decrefp) json_t *cases = json_load_file(path, JSON_ALLOW_NUL, NULL);
    size_t i, j;
    json_t *one, *id;

    assert_non_null(cases);
    assert_true(json_array_size(cases) >= n_least);
    json_array_foreach(cases, i, one) {
        json_t *text = json_object_get(one, "text"), *ids = json_object_get(one, "ids");
        cleanup(freep) int32_t *want = calloc(json_array_size(ids) + 1, sizeof(*want));

        assert_non_null(want);
        json_array_foreach(ids, j, id) {
            want[j] = (int32_t)json_integer_value(id);
        }
        check(tokenizer, json_string_value(text), json_string_length(text), want,
              json_array_size(ids));
    }
    print_message("%zu texts of %s\n", json_array_size(cases), path);
}
