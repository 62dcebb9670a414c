// SPDX-License-Identifier: Apache-2.0
/*
 * C4, English: one shard of JSON lines {text, timestamp, url} for training, one for validation.
 * Windows are drawn from single documents; only c4-new is evaluated as one text.
 */
#include "base/json.h"
#include "daemon/data/dataset.h"
#include "daemon/data/gz_lines.h"
#include "daemon/data/text.h"

#include <errno.h>
#include <stdio.h>

#define NEW_DOCUMENTS 1100
#define NEW_WINDOWS 256

static int add_document(struct documents *documents, const char *line, size_t size,
                        const char *separator, const char *subject, struct failure *failure) {
    cleanup(json_decrefp) json_t *object = NULL;
    json_t *text;
    int r;

    r = json_parse(line, size, subject, "dataset_invalid", &object, failure);
    if (r)
        return r;
    text = json_object_get(object, "text");
    if (!json_is_string(text))
        return failure_set(failure, -EBADMSG, "dataset_invalid", NULL,
                           "cannot read '%s': no string 'text'", subject);
    return documents_add(documents, json_string_value(text), json_string_length(text), separator,
                         subject, failure);
}

/* At most @max documents with @separator between them. */
static int read_documents(const char *path, const char *name, size_t max, const char *separator,
                          struct documents *documents, struct failure *failure) {
    cleanup(gz_lines_freep) struct gz_lines *lines = NULL;
    char subject[192];
    const char *line;
    size_t size;
    int r;

    r = gz_lines_open(path, name, &lines, failure);
    if (r)
        return r;
    while (documents->n < max) {
        r = gz_lines_next(lines, &line, &size, failure);
        if (r < 0)
            return r;
        if (r == 0)
            break;
        snprintf(subject, sizeof(subject), "%s, document %zu", name, documents->n + 1);
        r = add_document(documents, line, size, separator, subject, failure);
        if (r)
            return r;
    }
    return documents_end(documents, failure);
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
