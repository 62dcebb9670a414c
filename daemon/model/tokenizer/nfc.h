// SPDX-License-Identifier: Apache-2.0
/* Normalization form C. Any thread. */
#pragma once

#include <stddef.h>

/*
 * nfc_normalize() - @size bytes of valid UTF-8 in normalization form C. *ret_buffer is NULL when
 * the text is in it already, else the new text of *ret_size bytes, owned by the caller. Linear
 * time. Return: 0 or -ENOMEM.
 */
int nfc_normalize(const char *text, size_t size, char **ret_buffer, size_t *ret_size);
