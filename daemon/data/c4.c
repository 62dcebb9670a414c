// SPDX-License-Identifier: Apache-2.0
/*
 * C4, English: one shard of JSON lines {text, timestamp, url} for training, one for validation.
 * Windows are drawn from single documents; only c4-new is evaluated as one text.
 */
#include "base/checked.h"
#include "base/json.h"
#include "daemon/data/dataset.h"
#include "daemon/data/gz_lines.h"
#include "daemon/data/text.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>

#define NEW_DOCUMENTS 1100
#define NEW_WINDOWS 256

/* The train shard has 356317. */
#define DOCUMENTS_MAX ((size_t)4 << 20)

struct documents {
    struct strbuf text;
    size_t *starts; /* [n + 1] offsets into text once it is complete; owned */
    size_t n, capacity;
};

static void documents_done(struct documents *documents) {
    strbuf_done(&documents->text);
    free(documents->starts);
}

/* Notes that a document (or the end of the last one) is where the text ends now. */
static int mark_start(struct documents *documents, struct failure *failure) {
    if (documents->n == documents->capacity) {
        size_t capacity = documents->capacity * 2 + 1024, size;
        size_t *grown =
            checked_mul(capacity, sizeof(*grown), &size) ? NULL : realloc(documents->starts, size);

        if (!grown)
            return failure_oom(failure);
        documents->starts = grown;
        documents->capacity = capacity;
    }
    documents->starts[documents->n] = documents->text.length;
    return 0;
}

static int add_document(struct documents *documents, const char *line, size_t size,
                        const char *subject, const char *separator, struct failure *failure) {
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
    if (documents->n > 0)
        strbuf_puts(&documents->text, separator);
    r = mark_start(documents, failure);
    if (r)
        return r;
    strbuf_append(&documents->text, json_string_value(text), json_string_length(text));
    if (documents->text.failed)
        return failure_oom(failure);
    documents->n++;
    if (documents->n > DOCUMENTS_MAX || documents->text.length > TEXT_MAX)
        return failure_set(failure, -EBADMSG, "dataset_invalid", NULL,
                           "cannot read '%s': more than %zu documents or %zu bytes of text",
                           subject, DOCUMENTS_MAX, TEXT_MAX);
    return 0;
}

/* At most @max documents with @separator between them. */
static int read_documents(const struct corpora *corpora, enum catalog_id id, size_t max,
                          const char *separator, struct documents *documents,
                          struct failure *failure) {
    const char *url_path = catalog[id].path;
    cleanup(gz_lines_freep) struct gz_lines *lines = NULL;
    cleanup(freep) char *path = NULL;
    char subject[192];
    const char *line;
    size_t size;
    int r;

    r = dataset_fetch(corpora, id, &path, failure);
    if (r)
        return r;
    r = gz_lines_open(path, url_path, &lines, failure);
    if (r)
        return r;
    while (documents->n < max) {
        r = gz_lines_next(lines, &line, &size, failure);
        if (r < 0)
            return r;
        if (r == 0)
            break;
        snprintf(subject, sizeof(subject), "%s, document %zu", url_path, documents->n + 1);
        r = add_document(documents, line, size, subject, separator, failure);
        if (r)
            return r;
    }
    return mark_start(documents, failure);
}

int c4_load(const struct corpora *corpora, enum corpus_use use, struct corpus *corpus,
            struct failure *failure) {
    enum catalog_id id = use == CORPUS_CALIBRATION ? CATALOG_C4_TRAIN : CATALOG_C4_VALIDATION;
    const char *url_path = catalog[id].path;
    cleanup(documents_done) struct documents documents = {};
    int r;

    r = read_documents(corpora, id, SIZE_MAX, "", &documents, failure);
    if (r)
        return r;
    if (documents.n == 0)
        return failure_set(failure, -EBADMSG, "dataset_invalid", NULL,
                           "cannot read '%s': no documents", url_path);
    r = text_finish(&documents.text, url_path, &corpus->text, &corpus->size, failure);
    if (r)
        return r;
    corpus->documents = steal_ptr(documents.starts);
    corpus->n_documents = documents.n;
    return 0;
}

int c4_new_load(const struct corpora *corpora, enum corpus_use use, struct corpus *corpus,
                struct failure *failure) {
    cleanup(documents_done) struct documents documents = {};
    int r;

    if (use == CORPUS_CALIBRATION) /* the two differ in what is measured only */
        return c4_load(corpora, use, corpus, failure);
    r = read_documents(corpora, CATALOG_C4_VALIDATION, NEW_DOCUMENTS, " ", &documents, failure);
    if (r)
        return r;
    corpus->max_windows = NEW_WINDOWS;
    return text_finish(&documents.text, catalog[CATALOG_C4_VALIDATION].path, &corpus->text,
                       &corpus->size, failure);
}
