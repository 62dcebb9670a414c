// SPDX-License-Identifier: Apache-2.0
/* Memory for many bytes. Any thread. */
#pragma once

#include <stddef.h>

/*
 * memory_room() - @size bytes that are all going to be written, not zeroed; free() takes them. Much
 * is taken in huge pages: taking and giving back small ones costs as much time as writing does.
 * Return: NULL when out of memory.
 */
void *memory_room(size_t size);
