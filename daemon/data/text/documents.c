// SPDX-License-Identifier: Apache-2.0
#include "daemon/data/text/documents.h"

#include "base/checked.h"
#include "daemon/data/text/text.h"

#include <errno.h>
#include <stdlib.h>

/* The train shard of C4 has 356317. */
#define DOCUMENTS_MAX ((size_t)4 << 20)

void documents_done(struct documents *documents) {
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

int documents_add(struct documents *documents, const char *text, size_t size, const char *separator,
                  const char *subject, struct failure *failure) {
    int r;

    if (documents->n > 0)
        strbuf_puts(&documents->text, separator);
    r = mark_start(documents, failure);
    if (r)
        return r;
    strbuf_append(&documents->text, text, size);
    if (documents->text.failed)
        return failure_oom(failure);
    documents->n++;
    if (documents->n > DOCUMENTS_MAX || documents->text.length > TEXT_MAX)
        return failure_set(failure, -EBADMSG, "dataset_invalid", "use a part of it",
                           "cannot read '%s': more than %zu documents or %zu bytes of text",
                           subject, DOCUMENTS_MAX, TEXT_MAX);
    return 0;
}

int documents_end(struct documents *documents, struct failure *failure) {
    return mark_start(documents, failure);
}

void documents_join(struct documents *documents) {
    free(documents->starts);
    documents->starts = NULL;
    documents->n = documents->capacity = 0;
}
