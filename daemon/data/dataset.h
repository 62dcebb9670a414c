// SPDX-License-Identifier: Apache-2.0
/*
 * The data sets behind corpus_load(), one file each. A load fills text and size (and documents,
 * n_documents, max_windows where they apply) of an empty corpus, and returns as corpus_load()
 * does. Any thread.
 */
#pragma once

#include "daemon/data/catalog.h"
#include "daemon/data/corpus.h"

/* dataset_fetch() - the local path of a file of the catalog, owned by the caller. */
int dataset_fetch(const struct corpora *corpora, enum catalog_id id, char **ret_path,
                  struct failure *failure);

int wikitext2_load(const struct corpora *corpora, enum corpus_use use, struct corpus *corpus,
                   struct failure *failure);
int ptb_load(const struct corpora *corpora, enum corpus_use use, struct corpus *corpus,
             struct failure *failure);
int ptb_new_load(const struct corpora *corpora, enum corpus_use use, struct corpus *corpus,
                 struct failure *failure);
int c4_load(const struct corpora *corpora, enum corpus_use use, struct corpus *corpus,
            struct failure *failure);
int c4_new_load(const struct corpora *corpora, enum corpus_use use, struct corpus *corpus,
                struct failure *failure);

/* local_path_valid() - may @path be looked up: relative, not empty, no ".." component? */
bool local_path_valid(const char *path);

/* local_load() - the whole file at @path, relative to the first data root that has it. */
int local_load(const struct corpora *corpora, const char *path, struct corpus *corpus,
               struct failure *failure);
