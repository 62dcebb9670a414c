// SPDX-License-Identifier: Apache-2.0
/* One member of a zip archive, by libzip. */
#pragma once

#include "base/failure.h"

#include <stddef.h>

/**
 * zip_member_read() - unpack one member
 * @path:     the archive, a regular file; untrusted
 * @member:   name of the member in the archive
 * @subject:  what failures call the archive
 * @max:      refuse a member of more bytes
 * @ret_data: its bytes and a NUL that is not counted; owned by the caller
 * @ret_size: bytes
 *
 * Only stored and deflated members; its checksum is verified; a member that claims to shrink more
 * than text does is refused before anything is unpacked.
 *
 * Return: 0; -EBADMSG (dataset_invalid); -ENOMEM; or -errno. Any thread.
 */
int zip_member_read(const char *path, const char *member, const char *subject, size_t max,
                    char **ret_data, size_t *ret_size, struct failure *failure);
