// SPDX-License-Identifier: Apache-2.0
/* A text, of one piece or of documents one after the other. A reader builds it; any thread. */
#pragma once

#include "base/failure.h"
#include "base/str.h"

#include <stddef.h>

/* Zero-initialise, and documents_done() in the end. */
struct documents {
    struct strbuf text; /* UTF-8; all documents, with what stands between them */
    size_t *starts;     /* [n + 1] offsets into text once documents_end() was called; owned */
    size_t n;           /* documents; 0: the text is one piece */
    size_t capacity;    /* of starts */
};

/*
 * documents_add() - append the document @text of @size bytes, after @separator when it is not the
 * first. @subject is what the failure calls the file.
 * Return: 0; -EBADMSG (dataset_invalid): more than TEXT_MAX bytes or too many documents; -ENOMEM.
 */
int documents_add(struct documents *documents, const char *text, size_t size, const char *separator,
                  const char *subject, struct failure *failure);

/* documents_end() - note the end of the last document; none is added after it. */
int documents_end(struct documents *documents, struct failure *failure);

/* documents_join() - make it one piece. */
void documents_join(struct documents *documents);

void documents_done(struct documents *documents);
