// SPDX-License-Identifier: Apache-2.0
/* Where tests find the files they read. */
#pragma once

#include "base/str.h"

#include <stdlib.h>
#include <unistd.h>

/* source_path() - @name in the source tree; owned by the caller. */
static inline char *source_path(const char *name) {
    const char *source = getenv("QUANTD_SOURCE");

    return str_format("%s/%s", source ? source : ".", name);
}

/*
 * shared_path() - @name in the folder of benchmark text and reference figures, which a clone does
 * not carry; owned by the caller, NULL when it is not there.
 */
static inline char *shared_path(const char *name) {
    const char *shared = getenv("QUANTD_SHARED"), *source = getenv("QUANTD_SOURCE");
    char *path = shared ? str_format("%s/%s", shared, name)
                        : str_format("%s/../shared/%s", source ? source : ".", name);

    if (path && access(path, R_OK)) {
        free(path);
        return NULL;
    }
    return path;
}
