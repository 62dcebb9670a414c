// SPDX-License-Identifier: Apache-2.0
/* file:PATH, a text under a data root. Any thread. */
#pragma once

#include "daemon/data/documents.h"

#include <stdbool.h>

#define LOCAL_PREFIX "file:"

/* local_path_valid() - may @path be looked up: relative, not empty, no ".." component? */
bool local_path_valid(const char *path);

/*
 * local_load() - the whole file at @path, relative to the first of @n_roots folders that has it.
 * Return: 0; -ENOENT (dataset_not_found); -EBADMSG (dataset_invalid); or -errno.
 */
int local_load(char *const *roots, int n_roots, const char *path, struct documents *documents,
               struct failure *failure);
