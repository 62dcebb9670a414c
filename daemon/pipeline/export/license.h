// SPDX-License-Identifier: Apache-2.0
/*
 * The licence that a model's own README.md names for hubs, in its first lines: YAML between two
 * lines of "---". The file is anyone's: only plain values are taken. Any thread.
 */
#pragma once

#include "base/failure.h"

/* Each is a plain YAML value; "": none. */
struct license {
    char id[64];    /* "apache-2.0" */
    char name[64];  /* of one that is "other" */
    char link[256]; /* to its text: an https address */
};

/*
 * license_read() - from README.md of the model folder @dir, opened as by file_open_in(). A README
 * that is missing, too large or otherwise unusable names none. Return: 0 or -errno with the
 * failure.
 */
int license_read(const char *root, const char *dir, struct license *ret_license,
                 struct failure *failure);
