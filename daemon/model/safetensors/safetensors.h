// SPDX-License-Identifier: Apache-2.0
/*
 * One safetensors file: 8 bytes header length, a JSON header, the tensors' bytes.
 *
 * Reading is hostile-input code: the header is at most 100 MB, has no duplicate keys; offsets are
 * contiguous from 0 to the end of the file; the bytes of every tensor are those of its shape.
 * The file is mapped read-only; tensors stay valid until the file is freed. A file cut short while
 * mapped does not kill the process: see mapping.h.
 */
#pragma once

#include "base/cleanup.h"
#include "base/failure.h"
#include "base/str.h"
#include "daemon/model/safetensors/mapping.h"
#include "daemon/model/safetensors/tensor.h"

#include <stdbool.h>

struct safetensors;

/*
 * safetensors_open() - map and check the file at @path, opened as by file_open_in(); the caller
 * owns *ret_file. Return: 0, -EBADMSG (code model_invalid), or -errno. Any thread; afterwards
 * read-only.
 */
int safetensors_open(const char *root, const char *path, struct safetensors **ret_file,
                     struct failure *failure);
/*
 * safetensors_adopt() - the same of a file in another layout, whose reader found @tensors (copied)
 * in @mapping. The mapping and @names, where their names are and which malloc() gave, are taken,
 * also on failure. Return: 0 or -ENOMEM.
 */
int safetensors_adopt(struct mapping *mapping, const struct tensor *tensors, size_t n_tensors,
                      char *names, struct safetensors **ret_file);
void safetensors_free(struct safetensors *file); /* NULL is fine */

size_t safetensors_n_tensors(const struct safetensors *file);
/* safetensors_at() - the @i-th tensor in the order of its offset. */
const struct tensor *safetensors_at(const struct safetensors *file, size_t i);
/* safetensors_find() - the tensor called @name, or NULL. */
const struct tensor *safetensors_find(const struct safetensors *file, const char *name);
/* safetensors_finder() - the same as a finder; it borrows the file. */
struct tensor_finder safetensors_finder(const struct safetensors *file);
/* safetensors_intact() - false once the file was cut short under its mapping. */
bool safetensors_intact(const struct safetensors *file);
/* safetensors_mapping() - the file itself; borrowed. */
const struct mapping *safetensors_mapping(const struct safetensors *file);
/* safetensors_data() - all that follows the header, in a file of safetensors. */
const void *safetensors_data(const struct safetensors *file, size_t *ret_size);

DEFINE_CLEANUP(struct safetensors *, safetensors_freep, safetensors_free)

/*
 * safetensors_write() - write @n_tensors tensors (names unique) to @path in the given order, with
 * metadata {"format": "pt"}: a temporary file beside it, fsync, rename, fsync of the folder.
 * The same tensors give the same bytes. When not NULL, @ret_sha256 [SHA256_TEXT_SIZE] is the hash
 * of the file, found beside the writing, and @ret_size its bytes.
 * Return: 0; -EBADMSG (model_invalid) when data is mapped and its file was cut short; or -errno;
 * with the failure.
 */
int safetensors_write(const char *path, const struct tensor *tensors, size_t n_tensors,
                      char *ret_sha256, uint64_t *ret_size, struct failure *failure);

/*
 * safetensors_build_header() - append to the empty @header all that comes before the data in a
 * file of these tensors, whose data is not looked at: length, JSON, padding. Tensor data follows
 * in the given order without gaps. @ret_size: bytes of the whole file.
 * Return: 0; -EINVAL for a size that is not that of its shape; -ENOMEM. Any thread.
 */
int safetensors_build_header(struct strbuf *header, const struct tensor *tensors, size_t n_tensors,
                             uint64_t *ret_size, struct failure *failure);
