// SPDX-License-Identifier: Apache-2.0
#include "client/http/receive.h"

#include "base/file.h"
#include "base/str.h"
#include "client/screen/interrupt.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define TRIES_MAX 8 /* when connections break */
#define RETRY_SECONDS 1.0
#define BLOCK_SIZE ((size_t)1 << 20)

static int show(void *ctx) {
    struct receive *receive = ctx;

    if (receive->show)
        receive->show(receive->ctx);
    return 0;
}

static int restart(struct receive *receive) {
    sha256_freep(&receive->hash);
    receive->hash = sha256_new();
    if (!receive->hash)
        return failure_oom(receive->failure);
    receive->written = receive->resumed = 0;
    if (ftruncate(receive->fd, 0) || lseek(receive->fd, 0, SEEK_SET) < 0)
        return failure_errno(receive->failure, -errno, "cannot write", receive->name);
    return 0;
}

int receive_open(struct receive *receive) {
    cleanup(freep) char *block = malloc(BLOCK_SIZE);

    receive->hash = sha256_new();
    if (!block || !receive->hash)
        return failure_oom(receive->failure);
    for (;;) {
        ssize_t n = read(receive->fd, block, BLOCK_SIZE);

        if (n < 0)
            return failure_errno(receive->failure, -errno, "cannot read", receive->name);
        if (n == 0)
            break;
        if ((uint64_t)n > receive->size - receive->written)
            return restart(receive); /* it is longer than the file */
        receive->written += (uint64_t)n;
        sha256_update(receive->hash, block, (size_t)n);
    }
    receive->resumed = receive->written;
    return 0;
}

static int begin(void *ctx, bool partial) {
    struct receive *receive = ctx;

    /* The whole file comes although the rest was asked for. */
    return partial || receive->written == 0 ? 0 : restart(receive);
}

static int take(void *ctx, const char *data, size_t size) {
    struct receive *receive = ctx;
    int r;

    if (size > receive->size - receive->written)
        return failure_set(receive->failure, -EPROTO, "bad_answer", NULL,
                           "refusing the file '%s': it has more than its %" PRIu64 " bytes",
                           receive->name, receive->size);
    r = file_write_all(receive->fd, data, size);
    if (r)
        return failure_errno(receive->failure, r, "cannot write", receive->name);
    sha256_update(receive->hash, data, size);
    receive->written += size;
    return show(receive);
}

/* Asks for what is missing until it is all there. */
static int transfer(struct receive *receive) {
    struct http_sink sink = {.ctx = receive, .begin = begin, .data = take, .tick = show};

    for (int i = 0; receive->written < receive->size; i++) {
        int r =
            http_download(receive->http, receive->path, receive->written, &sink, receive->failure);

        if (r && (!http_is_transient(receive->http, r) || i == TRIES_MAX))
            return r;
        if (receive->written < receive->size && i == TRIES_MAX)
            return failure_set(receive->failure, -EPIPE, "connection_lost", NULL,
                               "cannot download '%s': it ends early", receive->name);
        if (receive->written < receive->size)
            interrupt_sleep(RETRY_SECONDS * (i + 1));
    }
    return 0;
}

int receive_run(struct receive *receive) {
    char sha256[SHA256_TEXT_SIZE];
    int r;

    for (bool resumed = receive->resumed > 0;; resumed = false) {
        r = transfer(receive);
        if (r)
            return r;
        sha256_finish(receive->hash, sha256);
        if (str_equal(sha256, receive->sha256))
            break;
        r = restart(receive);
        if (r)
            return r;
        if (!resumed)
            return failure_set(receive->failure, -EPROTO, "hash_mismatch",
                               "try again; when it stays, look at the disk of quantd",
                               "refusing the file '%s': its SHA-256 is not the one that quantd "
                               "names",
                               receive->name);
    }
    return fsync(receive->fd)
               ? failure_errno(receive->failure, -errno, "cannot write", receive->name)
               : 0;
}

void receive_done(struct receive *receive) {
    sha256_freep(&receive->hash);
}
