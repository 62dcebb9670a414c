// SPDX-License-Identifier: Apache-2.0
/*
 * A read-only mapping of a whole file that survives the file being cut short: SIGBUS inside it
 * puts a zero page at the fault and marks the mapping. Its users call mapping_intact() before they
 * trust the result. Any thread, as long as it does not block SIGBUS. A
 * system call that reads such a place returns -EFAULT instead.
 */
#pragma once

#include "base/cleanup.h"
#include "base/failure.h"
#include "daemon/model/fingerprint/identity.h"

#include <stdbool.h>
#include <stddef.h>

struct mapping {
    const unsigned char *data;
    size_t size;
    struct identity identity; /* of the file when it was opened */
    int slot;                 /* in the registry of mapping.c; -1 for an empty file */
};

/*
 * mapping_open() - map the regular file at @path, opened as by file_open_in(); -EFBIG over @max
 * bytes, -EMFILE when the 4096 mappings of a process are in use. Caller owns it.
 */
int mapping_open(const char *root, const char *path, size_t max, struct mapping **ret_mapping,
                 struct failure *failure);
void mapping_free(struct mapping *mapping); /* NULL is fine */
bool mapping_intact(const struct mapping *mapping);

DEFINE_CLEANUP(struct mapping *, mapping_freep, mapping_free)
