// SPDX-License-Identifier: Apache-2.0
/* Listening sockets. Not thread-safe: the one who starts the API uses them. */
#pragma once

#include "base/failure.h"

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>
#include <sys/un.h>

struct endpoint {
    int fd; /* listening, non-blocking; -1: none */
    bool is_unix;
    bool is_remote;                                         /* TCP, and other machines reach it */
    int port;                                               /* TCP only */
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* the socket file to remove, or "" */
    dev_t dev;
    ino_t ino;
};

/*
 * endpoint_open() - listen on "HOST:PORT", "[::1]:PORT" or "unix:PATH". The host is
 * localhost or a numeric address, which without @allow_remote has to be one of loopback. A socket
 * file is made with mode 0660; one that is there is replaced only if no process listens on it.
 * Return: 0 or -errno with the failure.
 */
int endpoint_open(const char *address, bool allow_remote, struct endpoint *ret_endpoint,
                  struct failure *failure);

/* endpoint_adopt() - take over @fd, an inherited listening socket; it stays open on failure. */
int endpoint_adopt(int fd, bool allow_remote, struct endpoint *ret_endpoint,
                   struct failure *failure);

/* endpoint_close() - close the socket and remove the file, if it still is the one made. */
void endpoint_close(struct endpoint *endpoint);
