// SPDX-License-Identifier: Apache-2.0
/*
 * The public data sets: a file each, which ends in its rows; dataset.c lists them. To add one,
 * write its file, declare the row here, and name it in dataset.c (its files in catalog.c). Any
 * thread.
 */
#pragma once

#include "daemon/data/catalog.h"
#include "daemon/data/source.h"
#include "daemon/data/text/documents.h"

enum corpus_use { CORPUS_CALIBRATION, CORPUS_EVALUATION };
#define CORPUS_USES 2

struct dataset {
    const char *name;
    enum catalog_id files[CORPUS_USES]; /* what each use reads */
    int max_windows[CORPUS_USES];       /* at most so many are taken; 0: all */
    /*
     * Fills @documents, which are empty, from the file at @path. Return: 0; -EBADMSG
     * (dataset_invalid); -ENOMEM; or -errno.
     */
    int (*load)(const struct dataset *dataset, enum corpus_use use, const char *path,
                struct documents *documents, struct failure *failure);
};

extern const struct dataset dataset_wikitext2, dataset_ptb, dataset_ptb_new, dataset_c4,
    dataset_c4_new;

/* dataset_at() - row @i, NULL after the last. */
const struct dataset *dataset_at(size_t i);

/* dataset_find() - the row of that name, or NULL. */
const struct dataset *dataset_find(const char *name);

/* dataset_names() - append the names to @buf, with ", " between them. */
void dataset_names(struct strbuf *buf);

/* dataset_load() - fetch what @use reads, and load it; otherwise as load of the row. */
int dataset_load(const struct dataset *dataset, struct source *source, enum corpus_use use,
                 struct documents *documents, struct failure *failure);
