// SPDX-License-Identifier: Apache-2.0
/*
 * Penn Treebank, one stripped sentence per line. ptb joins them by "\n\n" and is measured on its
 * validation part; ptb-new joins them by " " and is measured on its test part.
 */
#include "daemon/data/dataset.h"
#include "daemon/data/text.h"

static int load_joined(const struct corpora *corpora, enum catalog_id id, const char *separator,
                       struct corpus *corpus, struct failure *failure) {
    const char *url_path = catalog[id].path;
    cleanup(strbuf_done) struct strbuf joined = {};
    cleanup(freep) char *path = NULL;
    cleanup(freep) char *text = NULL;
    cleanup(closep) int fd = -1;
    size_t size, at = 0, sentence_size;
    const char *sentence;
    int r;

    r = dataset_fetch(corpora, id, &path, failure);
    if (r)
        return r;
    r = text_open(path, url_path, &fd, failure);
    if (r)
        return r;
    r = text_read(fd, url_path, &text, &size, failure);
    if (r)
        return r;
    while (text_next_line(text, size, &at, &sentence, &sentence_size)) {
        if (sentence != text)
            strbuf_puts(&joined, separator);
        text_strip(&sentence, &sentence_size);
        strbuf_append(&joined, sentence, sentence_size);
    }
    return text_finish(&joined, url_path, &corpus->text, &corpus->size, failure);
}

int ptb_load(const struct corpora *corpora, enum corpus_use use, struct corpus *corpus,
             struct failure *failure) {
    return load_joined(corpora, use == CORPUS_CALIBRATION ? CATALOG_PTB_TRAIN : CATALOG_PTB_VALID,
                       "\n\n", corpus, failure);
}

int ptb_new_load(const struct corpora *corpora, enum corpus_use use, struct corpus *corpus,
                 struct failure *failure) {
    return load_joined(corpora, use == CORPUS_CALIBRATION ? CATALOG_PTB_TRAIN : CATALOG_PTB_TEST,
                       " ", corpus, failure);
}
