// SPDX-License-Identifier: Apache-2.0
/*
 * C4, English: one shard of JSON lines {text, timestamp, url} for training, one for validation.
 * Windows are drawn from single documents; only c4-new is evaluated as one text.
 */
#include "daemon/data/dataset.h"
#include "daemon/data/text/json_lines.h"
#include "daemon/data/text/text.h"

#include <errno.h>
#include <stdint.h>

#define NEW_DOCUMENTS 1100
#define NEW_WINDOWS 256

/* At most @max documents with @separator between them. */
static int read_documents(const char *path, const char *name, size_t max, const char *separator,
                          struct documents *documents, struct failure *failure) {
    const struct json_lines lines = {
        .subject = name, .field = "text", .separator = separator, .max = max};
    cleanup(reader_freep) struct reader *reader = NULL;
    int fd, r;

    r = text_open(path, name, &fd, failure);
    if (!r)
        r = reader_new(fd, name, READER_GZIP, &reader, failure);
    return r ? r : json_lines_read(&lines, reader, documents, failure);
}

static int load(const struct dataset *dataset, enum corpus_use use, const char *path,
                struct documents *documents, struct failure *failure) {
    const char *name = catalog[dataset->files[use]].path;
    int r = read_documents(path, name, SIZE_MAX, "", documents, failure);

    if (!r && documents->n == 0)
        r = failure_set(failure, -EBADMSG, "dataset_invalid", NULL,
                        "cannot read '%s': no documents", name);
    return r;
}

static int load_new(const struct dataset *dataset, enum corpus_use use, const char *path,
                    struct documents *documents, struct failure *failure) {
    int r;

    if (use == CORPUS_CALIBRATION) /* the two differ in what is measured only */
        return load(dataset, use, path, documents, failure);
    r = read_documents(path, catalog[dataset->files[use]].path, NEW_DOCUMENTS, " ", documents,
                       failure);
    documents_join(documents);
    return r;
}

const struct dataset dataset_c4 = {
    .name = "c4",
    .files = {[CORPUS_CALIBRATION] = CATALOG_C4_TRAIN, [CORPUS_EVALUATION] = CATALOG_C4_VALIDATION},
    .load = load,
};

const struct dataset dataset_c4_new = {
    .name = "c4-new",
    .files = {[CORPUS_CALIBRATION] = CATALOG_C4_TRAIN, [CORPUS_EVALUATION] = CATALOG_C4_VALIDATION},
    .max_windows = {[CORPUS_EVALUATION] = NEW_WINDOWS},
    .load = load_new,
};
