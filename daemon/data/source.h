// SPDX-License-Identifier: Apache-2.0
/*
 * Where files of public data sets come from: the seam between the data sets, which know their
 * URLs, and whatever fetches one. A source gives a local path for a URL.
 */
#pragma once

#include "base/failure.h"

struct source {
    /*
     * The local path of the file at https://@host/@path; the caller owns *ret_path.
     * Return: 0, -ENOENT (code dataset_not_found), or -errno.
     */
    int (*fetch)(struct source *source, const char *host, const char *path, char **ret_path,
                 struct failure *failure);
};

/*
 * A source over mirror folders, each laid out by URL path without the host. The first folder that
 * has the file wins.
 */
struct source_mirror {
    struct source source;
    char *const *dirs; /* borrowed */
    int n_dirs;
};

void source_mirror_init(struct source_mirror *mirror, char *const *dirs, int n_dirs);
