// SPDX-License-Identifier: Apache-2.0
/* The joined texts of the public data sets are those that the GPTQ scripts join, to the byte. */
#include "daemon/data/corpus.h"

#include "base/macros.h"
#include "tests/unit/shared.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

/* Sizes and hashes come from a Python script: json, gzip, zipfile, str.join(). */
static const struct {
    const char *name;
    enum corpus_use use;
    size_t size, n_documents;
    int max_windows;
    const char *sha256;
} cases[] = {
    {"wikitext2", CORPUS_CALIBRATION, 1151766, 0, 0,
     "b44fb967f92b525731216a507d1fbc44b97446b7ef0a2b4d1a893f81f1bbc29e"},
    {"wikitext2", CORPUS_EVALUATION, 1296370, 0, 0,
     "696cca6b65a171b0a358a4be6732cdfdf2dd6164a32e20fd70e3c13fc4dfae83"},
    {"ptb", CORPUS_CALIBRATION, 5059548, 0, 0,
     "96ea39df2733cab996e3071af874ad741c68dc8d5851ceea6943c29963157deb"},
    {"ptb", CORPUS_EVALUATION, 396410, 0, 0,
     "352a9351af725c5d5d6ccdd38357a35ebfef8c79916364fdf458fa72a4fb91c3"},
    {"ptb-new", CORPUS_CALIBRATION, 5017481, 0, 0,
     "e55e9b8ecc1783ae3f8ed28bd8bfc8d99b39eb2181f74f6e3eef31b6001b70f6"},
    {"ptb-new", CORPUS_EVALUATION, 442422, 0, 0,
     "900cfc61a7a63afcd086c5e1cce90554764eae65cb2ca9f5d4cac47be5f0f394"},
    {"c4", CORPUS_CALIBRATION, 894464, 740, 0,
     "2ec3aae8251caee40285f2013280c607738913161ce0af321a9392ab47814438"},
    {"c4", CORPUS_EVALUATION, 894042, 740, 0,
     "f008cd41cdde1113de9808bb10e129737ace92ab6509ccf7e4b54447d0b8a4fc"},
    {"c4-new", CORPUS_CALIBRATION, 894464, 740, 0,
     "2ec3aae8251caee40285f2013280c607738913161ce0af321a9392ab47814438"},
    {"c4-new", CORPUS_EVALUATION, 894781, 0, 256,
     "e9c6b796aeda224f96f12ff3073d00ae530483b771f8bc88e2c709e3c6aa6b10"},
};

static char *hub;

static void test_joined(void **state) {
    struct source_mirror mirror;
    struct corpora corpora = {.source = &mirror.source};

    (void)state;
    source_mirror_init(&mirror, &hub, 1);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        cleanup(corpus_freep) struct corpus *corpus = NULL;
        struct failure failure = {};
        int r = corpus_load(&corpora, cases[i].name, cases[i].use, &corpus, &failure);

        if (r)
            print_error("%s: %s\n", cases[i].name, failure.detail);
        assert_int_equal(r, 0);
        assert_int_equal(corpus->size, cases[i].size);
        assert_int_equal(corpus->n_documents, cases[i].n_documents);
        assert_int_equal(corpus->max_windows, cases[i].max_windows);
        assert_string_equal(corpus->sha256, cases[i].sha256);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_joined)};
    int r;

    hub = shared_path("hub");
    if (!hub) {
        puts("skipped: the benchmark texts are not here (QUANTD_SHARED)");
        return 77;
    }
    r = cmocka_run_group_tests(tests, NULL, NULL);
    free(hub);
    return r;
}
