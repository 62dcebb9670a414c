// SPDX-License-Identifier: Apache-2.0
/* What the two tests of windows share: comparing with the rows of a reference file. */
#pragma once

#include "base/cleanup.h"
#include "base/json.h"
#include "daemon/pipeline/windows/windows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define HEAD 8 /* ids of a window that the reference notes */

static inline struct corpus *load_corpus(const struct corpora *corpora, const char *name,
                                         enum corpus_use use) {
    struct corpus *corpus = NULL;
    struct failure failure = {};
    int r = corpus_load(corpora, name, use, &corpus, &failure);

    if (r)
        print_error("%s: %s\n", name, failure.detail);
    assert_int_equal(r, 0);
    return corpus;
}

static inline struct windows *sample(const struct corpora *corpora,
                                     const struct tokenizer *tokenizer, const char *name, int n,
                                     int seqlen) {
    cleanup(corpus_freep) struct corpus *corpus = load_corpus(corpora, name, CORPUS_CALIBRATION);
    struct windows *windows = NULL;
    struct failure failure = {};
    int r = windows_sample(corpus, tokenizer, n, seqlen, 0, &windows, &failure);

    if (r)
        print_error("%s: %s\n", name, failure.detail);
    assert_int_equal(r, 0);
    assert_int_equal(windows->n, n);
    assert_int_equal(windows->seqlen, seqlen);
    return windows;
}

static inline struct windows *cut(const struct corpora *corpora, const struct tokenizer *tokenizer,
                                  const char *name, int seqlen) {
    cleanup(corpus_freep) struct corpus *corpus = load_corpus(corpora, name, CORPUS_EVALUATION);
    struct windows *windows = NULL;
    struct failure failure = {};
    int r = windows_cut(corpus, tokenizer, seqlen, &windows, &failure);

    if (r)
        print_error("%s: %s\n", name, failure.detail);
    assert_int_equal(r, 0);
    assert_int_equal(windows->seqlen, seqlen);
    return windows;
}

static inline void expect_head(const json_t *expected, const int32_t *ids) {
    assert_int_equal(json_array_size(expected), HEAD);
    for (size_t i = 0; i < HEAD; i++)
        assert_int_equal(ids[i], json_integer_value(json_array_get(expected, i)));
}

/* The first and the last window of a row's calibration. */
static inline void expect_heads(const json_t *row, const struct windows *windows) {
    size_t last = (size_t)(windows->n - 1) * (size_t)windows->seqlen;

    expect_head(json_object_get(row, "first_segment_head"), windows->ids);
    expect_head(json_object_get(row, "last_segment_head"), windows->ids + last);
}
