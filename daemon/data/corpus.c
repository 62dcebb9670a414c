// SPDX-License-Identifier: Apache-2.0
#include "daemon/data/corpus.h"

#include "base/str.h"
#include "daemon/data/local.h"
#include "daemon/data/text.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool corpus_known(const char *name, enum corpus_use use) {
    (void)use; /* every set serves both today */
    if (str_has_prefix(name, LOCAL_PREFIX))
        return local_path_valid(name + strlen(LOCAL_PREFIX));
    return dataset_find(name) != NULL;
}

int corpus_file(const char *name, enum corpus_use use, enum catalog_id *ret_id) {
    const struct dataset *dataset = dataset_find(name);

    if (!dataset)
        return -ENOENT;
    *ret_id = dataset->files[use];
    return 0;
}

static int set_hash(struct corpus *corpus, struct failure *failure) {
    cleanup(sha256_freep) struct sha256 *hash = sha256_new();

    if (!hash)
        return failure_oom(failure);
    sha256_update(hash, corpus->text, corpus->size);
    for (size_t i = 0; i < corpus->n_documents; i++) {
        uint64_t end = htole64(corpus->documents[i + 1]);

        sha256_update(hash, &end, sizeof(end));
    }
    sha256_finish(hash, corpus->sha256);
    return 0;
}

static int unknown(const char *name, struct failure *failure) {
    cleanup(strbuf_done) struct strbuf names = {};

    dataset_names(&names);
    return failure_set(failure, -ENOENT, "dataset_not_found", NULL,
                       "no data set '%s': known are %s and file:PATH", name,
                       names.data ? names.data : "");
}

/* The documents of @name, and how many windows are measured at most. */
static int load_documents(const struct corpora *corpora, const char *name, enum corpus_use use,
                          struct documents *documents, int *ret_max_windows,
                          struct failure *failure) {
    const struct dataset *dataset = dataset_find(name);

    *ret_max_windows = dataset ? dataset->max_windows[use] : 0;
    if (str_has_prefix(name, LOCAL_PREFIX))
        return local_load(corpora->data_roots, corpora->n_data_roots, name + strlen(LOCAL_PREFIX),
                          documents, failure);
    if (!dataset)
        return unknown(name, failure);
    return dataset_load(dataset, corpora->source, use, documents, failure);
}

int corpus_load(const struct corpora *corpora, const char *name, enum corpus_use use,
                struct corpus **ret_corpus, struct failure *failure) {
    cleanup(corpus_freep) struct corpus *corpus = calloc(1, sizeof(*corpus));
    cleanup(documents_done) struct documents documents = {};
    int r;

    if (!corpus)
        return failure_oom(failure);
    r = load_documents(corpora, name, use, &documents, &corpus->max_windows, failure);
    if (!r)
        r = text_finish(&documents.text, name, &corpus->text, &corpus->size, failure);
    if (r)
        return r;
    if (documents.n > 0) {
        corpus->documents = steal_ptr(documents.starts);
        corpus->n_documents = documents.n;
    }
    r = set_hash(corpus, failure);
    if (r)
        return r;
    *ret_corpus = steal_ptr(corpus);
    return 0;
}

void corpus_free(struct corpus *corpus) {
    if (!corpus)
        return;
    free(corpus->text);
    free(corpus->documents);
    free(corpus);
}
