// SPDX-License-Identifier: Apache-2.0
/* The small files of a model folder: what is pulled with the weights, and goes along with them. */
#pragma once

#include "base/failure.h"

#include <stdbool.h>
#include <stddef.h>

#define COMPANION_BYTES_MAX ((size_t)64 << 20)

struct companion {
    const char *name;
    bool needed; /* no model is without it */
    bool copied; /* into a checkpoint, as it is */
    bool json;
};

extern const struct companion companions[];
extern const int n_companions;

/*
 * companion_read() - the file in the model folder @dir, opened as by file_open_in(): a regular one
 * of at most COMPANION_BYTES_MAX, and JSON where it should be. The caller owns *ret_data. Return:
 * 0; -ENOENT without a failure, it is not there; -EBADMSG (model_invalid); or -errno. Any thread.
 */
int companion_read(const struct companion *companion, const char *root, const char *dir,
                   char **ret_data, size_t *ret_size, struct failure *failure);

/* companions_check() - read all in @dir that a checkpoint gets. Return: 0, or as companion_read().
 */
int companions_check(const char *root, const char *dir, struct failure *failure);
