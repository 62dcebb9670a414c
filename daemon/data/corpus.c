// SPDX-License-Identifier: Apache-2.0
#include "daemon/data/corpus.h"

#include "base/str.h"
#include "daemon/data/dataset.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LOCAL_PREFIX "file:"

static const struct dataset {
    const char *name;
    int (*load)(const struct corpora *corpora, enum corpus_use use, struct corpus *corpus,
                struct failure *failure);
} datasets[] = {
    {"wikitext2", wikitext2_load}, {"ptb", ptb_load},       {"c4", c4_load},
    {"ptb-new", ptb_new_load},     {"c4-new", c4_new_load},
};

static const struct dataset *find_dataset(const char *name) {
    for (size_t i = 0; i < ARRAY_SIZE(datasets); i++) {
        if (str_equal(datasets[i].name, name))
            return &datasets[i];
    }
    return NULL;
}

bool corpus_known(const char *name, enum corpus_use use) {
    (void)use; /* every set serves both today */
    if (str_has_prefix(name, LOCAL_PREFIX))
        return local_path_valid(name + strlen(LOCAL_PREFIX));
    return find_dataset(name) != NULL;
}

int dataset_fetch(const struct corpora *corpora, enum catalog_id id, char **ret_path,
                  struct failure *failure) {
    return corpora->source->fetch(corpora->source, catalog[id].host, catalog[id].path, ret_path,
                                  failure);
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

int corpus_load(const struct corpora *corpora, const char *name, enum corpus_use use,
                struct corpus **ret_corpus, struct failure *failure) {
    const struct dataset *dataset = find_dataset(name);
    cleanup(corpus_freep) struct corpus *corpus = calloc(1, sizeof(*corpus));
    int r;

    if (!corpus)
        return failure_oom(failure);
    if (str_has_prefix(name, LOCAL_PREFIX))
        r = local_load(corpora, name + strlen(LOCAL_PREFIX), corpus, failure);
    else if (dataset)
        r = dataset->load(corpora, use, corpus, failure);
    else
        r = failure_set(failure, -ENOENT, "dataset_not_found",
                        "known are wikitext2, ptb, c4, ptb-new, c4-new and file:PATH",
                        "no data set '%s'", name);
    if (r)
        return r;
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
