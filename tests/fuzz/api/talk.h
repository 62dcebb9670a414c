// SPDX-License-Identifier: Apache-2.0
/* A conversation with a whole API over a service in memory. One thread. */
#pragma once

#include <stddef.h>

#define TALK_START_SIZE 64

/*
 * talk() - send @size bytes on a connection of their own, end that side, and read until the daemon
 * ends its own or has been silent. What comes must begin as an answer of HTTP does; its first bytes
 * go to @ret_start, with a NUL.
 */
void talk(const void *data, size_t size, char ret_start[TALK_START_SIZE]);
