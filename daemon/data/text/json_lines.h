// SPDX-License-Identifier: Apache-2.0
/* JSON lines: an object a line, of which one field is a document's text. */
#pragma once

#include "daemon/data/text/documents.h"
#include "daemon/data/text/reader.h"

#include <stdbool.h>

struct json_lines {
    const char *subject;   /* what failures call the file */
    const char *field;     /* of each object; a string */
    const char *separator; /* between two documents */
    size_t max;            /* no more documents are read */
    bool lenient;          /* pass over blank lines, and a byte order mark at the start */
};

/*
 * json_lines_read() - append the documents of @reader. Return: 0; -EBADMSG (dataset_invalid) for a
 * line that is no object with that field; or as reader_line() and documents_add(). Any thread.
 */
int json_lines_read(const struct json_lines *lines, struct reader *reader,
                    struct documents *documents, struct failure *failure);
