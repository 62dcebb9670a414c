// SPDX-License-Identifier: Apache-2.0
/* The files of the public data sets: where each is, and what is known of it. Any thread. */
#pragma once

#include <stdint.h>

enum catalog_id {
    CATALOG_WIKITEXT2,
    CATALOG_PTB_TRAIN,
    CATALOG_PTB_VALID,
    CATALOG_PTB_TEST,
    CATALOG_C4_TRAIN,
    CATALOG_C4_VALIDATION,
    CATALOG_FILES,
};

struct catalog_file {
    const char *name;        /* "ptb.train": what a configuration calls it */
    const char *host, *path; /* https://HOST/PATH */
    const char *md5;         /* NULL: not published */
    uint64_t max;            /* bytes; a larger file is another one */
};

extern const struct catalog_file catalog[CATALOG_FILES];

/* catalog_find() - the file at @host/@path. Return: 0 or -ENOENT. */
int catalog_find(const char *host, const char *path, enum catalog_id *ret_id);
