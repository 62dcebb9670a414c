// SPDX-License-Identifier: Apache-2.0
#include "daemon/data/dataset.h"

#include "base/cleanup.h"
#include "base/macros.h"

static const struct dataset *const datasets[] = {
    &dataset_wikitext2, &dataset_ptb, &dataset_c4, &dataset_ptb_new, &dataset_c4_new,
};

const struct dataset *dataset_at(size_t i) {
    return i < ARRAY_SIZE(datasets) ? datasets[i] : NULL;
}

const struct dataset *dataset_find(const char *name) {
    for (size_t i = 0; i < ARRAY_SIZE(datasets); i++) {
        if (str_equal(datasets[i]->name, name))
            return datasets[i];
    }
    return NULL;
}

void dataset_names(struct strbuf *buf) {
    for (size_t i = 0; i < ARRAY_SIZE(datasets); i++)
        strbuf_printf(buf, "%s%s", i ? ", " : "", datasets[i]->name);
}

int dataset_load(const struct dataset *dataset, struct source *source, enum corpus_use use,
                 struct documents *documents, struct failure *failure) {
    const struct catalog_file *file = &catalog[dataset->files[use]];
    cleanup(freep) char *path = NULL;
    int r = source->fetch(source, file->host, file->path, &path, failure);

    return r ? r : dataset->load(dataset, use, path, documents, failure);
}
