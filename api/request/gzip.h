// SPDX-License-Identifier: Apache-2.0
/* Text as gzip (RFC 1952), by zlib. Any thread. */
#pragma once

#include "base/str.h"

/*
 * gzip_pays() - is a text of @size bytes worth it? A short one fits into a packet or two; a long
 * one would hold up the other requests of the thread.
 */
bool gzip_pays(size_t size);

/* gzip_pack() - append @size bytes at @data, packed, to the empty @out. Return: 0 or -ENOMEM. */
int gzip_pack(const void *data, size_t size, struct strbuf *out);
