// SPDX-License-Identifier: Apache-2.0
#include "daemon/data/corpus.h"

#include "base/str.h"
#include "daemon/data/local.h"
#include "daemon/data/text/text.h"

#include <endian.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* @name without its prefix; NULL: it has none. */
static const char *local_path(const char *name) {
    return str_has_prefix(name, LOCAL_PREFIX) ? name + strlen(LOCAL_PREFIX) : NULL;
}

static struct local_roots roots_of(const struct corpora *corpora) {
    return (struct local_roots){corpora->data_roots, corpora->n_data_roots};
}

/* "wikitext2, ..., file:PATH" */
static void known_names(struct strbuf *buf) {
    dataset_names(buf);
    strbuf_puts(buf, " and file:PATH");
}

int corpus_check_name(const char *name, enum corpus_use use, const char *field,
                      struct failure *failure) {
    cleanup(strbuf_done) struct strbuf hint = {};
    const char *path = local_path(name);

    (void)use; /* every set serves both today */
    if (path && !local_path_valid(path))
        return failure_field(failure, field, "name a text below a data root, without '..'",
                             "'%s' cannot be a file below a data root", name);
    if (path || dataset_find(name))
        return 0;
    strbuf_puts(&hint, "known are ");
    known_names(&hint);
    return failure_field(failure, field, hint.data, "unknown data set '%s'", name);
}

int corpus_check(const struct corpora *corpora, const char *name, size_t *ret_size,
                 struct failure *failure) {
    const struct local_roots roots = roots_of(corpora);
    const char *path = local_path(name);

    if (path)
        return local_check(&roots, path, ret_size, failure);
    *ret_size = SIZE_MAX;
    return 0;
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

    known_names(&names);
    return failure_set(failure, -ENOENT, "dataset_not_found", NULL,
                       "no data set '%s': known are %s", name, names.data ? names.data : "");
}

/* A text file, or documents: these are joined to be measured. */
static int load_local(const struct corpora *corpora, const char *path, enum corpus_use use,
                      struct documents *documents, struct corpus *corpus, struct failure *failure) {
    const struct local_roots roots = roots_of(corpora);
    int r = local_load(&roots, path, documents, failure);

    if (use == CORPUS_EVALUATION)
        documents_join(documents);
    corpus->gap = strlen(LOCAL_SEPARATOR);
    corpus->joinable = true;
    return r;
}

static int load_documents(const struct corpora *corpora, const char *name, enum corpus_use use,
                          struct documents *documents, struct corpus *corpus,
                          struct failure *failure) {
    const struct dataset *dataset = dataset_find(name);

    if (local_path(name))
        return load_local(corpora, local_path(name), use, documents, corpus, failure);
    if (!dataset)
        return unknown(name, failure);
    corpus->max_windows = dataset->max_windows[use];
    return dataset_load(dataset, corpora->source, use, documents, failure);
}

int corpus_load(const struct corpora *corpora, const char *name, enum corpus_use use,
                struct corpus **ret_corpus, struct failure *failure) {
    cleanup(corpus_freep) struct corpus *corpus = calloc(1, sizeof(*corpus));
    cleanup(documents_done) struct documents documents = {};
    int r;

    if (!corpus)
        return failure_oom(failure);
    r = load_documents(corpora, name, use, &documents, corpus, failure);
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
