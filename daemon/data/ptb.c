// SPDX-License-Identifier: Apache-2.0
/*
 * Penn Treebank, one stripped sentence per line. ptb joins them by "\n\n" and is measured on its
 * validation part; ptb-new joins them by " " and is measured on its test part.
 */
#include "daemon/data/dataset.h"
#include "daemon/data/text/text.h"

static int load_joined(const char *path, const char *name, const char *separator,
                       struct strbuf *joined, struct failure *failure) {
    cleanup(freep) char *text = NULL;
    cleanup(closep) int fd = -1;
    size_t size, at = 0, sentence_size;
    const char *sentence;
    int r;

    r = text_open(path, name, &fd, failure);
    if (r)
        return r;
    r = text_read(fd, name, &text, &size, failure);
    if (r)
        return r;
    while (text_next_line(text, size, &at, &sentence, &sentence_size)) {
        if (sentence != text)
            strbuf_puts(joined, separator);
        text_strip(&sentence, &sentence_size);
        strbuf_append(joined, sentence, sentence_size);
    }
    return 0;
}

static int load(const struct dataset *dataset, enum corpus_use use, const char *path,
                struct documents *documents, struct failure *failure) {
    return load_joined(path, catalog[dataset->files[use]].path, "\n\n", &documents->text, failure);
}

static int load_new(const struct dataset *dataset, enum corpus_use use, const char *path,
                    struct documents *documents, struct failure *failure) {
    return load_joined(path, catalog[dataset->files[use]].path, " ", &documents->text, failure);
}

const struct dataset dataset_ptb = {
    .name = "ptb",
    .files = {[CORPUS_CALIBRATION] = CATALOG_PTB_TRAIN, [CORPUS_EVALUATION] = CATALOG_PTB_VALID},
    .load = load,
};

const struct dataset dataset_ptb_new = {
    .name = "ptb-new",
    .files = {[CORPUS_CALIBRATION] = CATALOG_PTB_TRAIN, [CORPUS_EVALUATION] = CATALOG_PTB_TEST},
    .load = load_new,
};
