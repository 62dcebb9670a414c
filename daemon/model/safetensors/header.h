// SPDX-License-Identifier: Apache-2.0
/*
 * The JSON header of a safetensors file, scanned in place. Its grammar is so small that a scanner
 * beats a JSON tree, which a hostile header of 100 MB would blow up to gigabytes.
 */
#pragma once

#include "base/failure.h"
#include "daemon/model/safetensors/tensor.h"

#define HEADER_HINT "the file is damaged or not safetensors: fetch it again, or save it again"

struct header_entry {
    struct tensor tensor; /* name, dtype and shape are set */
    uint64_t begin, end;  /* data_offsets as the file has them: unchecked */
};

struct header {
    struct header_entry *entries; /* owned; in the order of the file */
    size_t n_entries, capacity;
};

/*
 * safetensors_header_parse() - scan @size bytes at @text, and a NUL after them, of the file at
 * @path. Strings are decoded in place and names point into @text, which must outlive @ret_header.
 * Checks the grammar and the types only: neither duplicate names nor offsets.
 * Return: 0, -EBADMSG or -ENOMEM; @ret_header->entries is the caller's to free in each case.
 */
int safetensors_header_parse(char *text, size_t size, const char *path, struct header *ret_header,
                             struct failure *failure);
