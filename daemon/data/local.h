// SPDX-License-Identifier: Apache-2.0
/*
 * file:PATH and file:PATH#FIELD, a text below a data root. PATH is relative to a root, of which the
 * first that has it wins, or absolute and inside a root; it cannot leave the root.
 *
 * What a file is, its name says: .jsonl, .ndjson and .json are JSON lines, a document a line, of
 * which FIELD ("text" when none is named) is the text; all others are one text. Both may be packed
 * by gzip, with or without .gz in the name. Any thread.
 */
#pragma once

#include "daemon/data/text/documents.h"

#include <stdbool.h>

#define LOCAL_PREFIX "file:"
#define LOCAL_SEPARATOR " " /* between two documents */

/* The folders below which texts are; borrowed. */
struct local_roots {
    char *const *dirs;
    int n;
};

/* local_path_valid() - may @path be looked up: not empty, no ".." component? */
bool local_path_valid(const char *path);

/*
 * local_check() - is there a file at @path that may be text? Reads its first bytes. *ret_size: of
 * the file as it is stored.
 * Return: 0; -ENOENT (dataset_not_found); -EBADMSG (dataset_invalid); or -errno.
 */
int local_check(const struct local_roots *roots, const char *path, size_t *ret_size,
                struct failure *failure);

/*
 * local_load() - the text, or the documents with LOCAL_SEPARATOR between them. Return: as above;
 * also -EBADMSG for more than TEXT_MAX bytes, damage, and what is not UTF-8.
 */
int local_load(const struct local_roots *roots, const char *path, struct documents *documents,
               struct failure *failure);
