// SPDX-License-Identifier: Apache-2.0
/* A file below a data root: its first byte chooses the name, and with it how the rest is read. */
#include "base/macros.h"
#include "base/str.h"
#include "daemon/data/corpus.h"
#include "tests/fuzz/fuzz.h"

static void load(const struct corpora *corpora, const char *name, enum corpus_use use) {
    cleanup(corpus_freep) struct corpus *corpus = NULL;
    struct failure failure = {};
    size_t stored;
    int r = corpus_load(corpora, name, use, &corpus, &failure);

    fuzz_require(!r == !!corpus && !r == !failure.code[0]);
    if (r)
        return;
    fuzz_require(corpus_check(corpora, name, &stored, &failure) == 0);
    fuzz_require(str_utf8_length(corpus->text, corpus->size) == corpus->size);
    fuzz_require(use == CORPUS_CALIBRATION || !corpus->n_documents);
    for (size_t i = 0; i < corpus->n_documents; i++)
        fuzz_require(corpus->documents[i] + (i + 1 < corpus->n_documents ? corpus->gap : 0) <=
                     corpus->documents[i + 1]);
    fuzz_require(!corpus->n_documents || corpus->documents[corpus->n_documents] == corpus->size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const names[] = {"file:text.jsonl", "file:text.txt", "file:text.jsonl#a"};
    static const char *const files[] = {"text.jsonl", "text.txt", "text.jsonl"};
    char *root = (char *)fuzz_folder();
    const struct corpora corpora = {.data_roots = &root, .n_data_roots = 1};
    size_t i = size ? data[0] % ARRAY_SIZE(names) : 0;

    fuzz_file(files[i], size ? data + 1 : data, size ? size - 1 : 0);
    load(&corpora, names[i], CORPUS_CALIBRATION);
    load(&corpora, names[i], CORPUS_EVALUATION);
    return 0;
}
