// SPDX-License-Identifier: Apache-2.0
/* A file of the daemon, whose size and SHA-256 are known, into a file here. One thread. */
#pragma once

#include "base/hash.h"
#include "client/http/http.h"

struct receive {
    struct http *http;
    const char *path;   /* of the request; borrowed, as the next two */
    const char *name;   /* what messages call the file */
    const char *sha256; /* 64 hex digits */
    uint64_t size;      /* bytes */
    int fd;             /* the file here, read and write; borrowed */
    struct failure *failure;
    void *ctx;
    void (*show)(void *ctx); /* called as bytes come, and some times a second; NULL: none */

    uint64_t written;    /* bytes that are in the file now */
    uint64_t resumed;    /* of them, those that it held at the start */
    struct sha256 *hash; /* over them */
};

/*
 * receive_open() - take over what the file at @receive->fd holds already: an earlier try. It counts
 * as written.
 */
int receive_open(struct receive *receive);

/*
 * receive_run() - ask for the bytes that are missing, again when a connection breaks, until the
 * file has its size and SHA-256 and is on disk. What an earlier try left is loaded anew when it was
 * of another file. Return: 0, -EPROTO (code hash_mismatch or bad_answer), what http.h says, or
 * another -errno.
 */
int receive_run(struct receive *receive);

void receive_done(struct receive *receive);
