// SPDX-License-Identifier: Apache-2.0
/* What a file is that was named as a text, by its first bytes. Any thread. */
#pragma once

#include "base/failure.h"

#include <stdbool.h>

/*
 * filetype_check() - may the regular file @fd be text? Leaves its offset alone. *ret_gzip: it is
 * packed by gzip. @subject is what failures call it.
 * Return: 0; -EBADMSG (dataset_invalid) for what certainly is no text, with its name and what to
 * do; or -errno.
 */
int filetype_check(int fd, const char *subject, bool *ret_gzip, struct failure *failure);
