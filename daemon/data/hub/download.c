// SPDX-License-Identifier: Apache-2.0
#include "daemon/data/hub/download.h"

#include "base/macros.h"
#include "base/task.h"
#include "daemon/data/hub/client.h"
#include "daemon/data/hub/http.h"
#include "daemon/data/hub/parts.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#define CONNECTIONS 4
#define ATTEMPTS_MAX 1000 /* of one part, when each brings a few bytes */
#define TICK_NS 50000000
#define BLOCK_SIZE ((size_t)1 << 20)

/* A download on its way: what its connections share. */
struct fetch {
    const struct hub_download *download;
    struct hub_client *client;
    struct hub_parts *parts;
    bool whole; /* without ranges: the server does not know them */
    atomic_bool *stop;
    pthread_mutex_t mutex; /* guards all below */
    uint64_t next;         /* first part that no connection has taken */
    int n_idle;            /* connections that are free */
    bool no_ranges;        /* a 200 came for a range */
    int r;                 /* of the first failure */
    struct failure failure;
};

/* A part on its way. */
struct piece {
    struct fetch *fetch;
    uint64_t i;
    bool refused_range;
};

static int piece_begin(void *ctx, const struct hub_reply *reply, struct failure *failure) {
    struct piece *piece = ctx;
    struct hub_parts *parts = piece->fetch->parts;
    uint64_t first = piece->i * parts->part_size + parts->done[piece->i];
    uint64_t total = reply->status == 206 ? reply->total : reply->size;

    if (!piece->fetch->whole && reply->status != 206) {
        piece->refused_range = true;
        return failure_set(failure, -EPROTO, "hub_invalid", NULL,
                           "the server does not support ranges");
    }
    if ((reply->status == 206 && reply->first != first) ||
        ((reply->status == 206 || reply->has_size) && total != parts->size))
        return failure_set(failure, -EPROTO, "hub_invalid",
                           "try again later; the file may be changing at the hub",
                           "cannot fetch '%s': %llu bytes were announced, and now %llu",
                           piece->fetch->download->name, (unsigned long long)parts->size,
                           (unsigned long long)total);
    return 0;
}

static int piece_data(void *ctx, const char *data, size_t size, struct failure *failure) {
    struct piece *piece = ctx;
    struct hub_parts *parts = piece->fetch->parts;
    int r;

    if (size > hub_parts_length(parts, piece->i) - parts->done[piece->i])
        return failure_set(failure, -EPROTO, "hub_invalid", "try again later",
                           "cannot fetch '%s': more than the %llu bytes that were announced",
                           piece->fetch->download->name, (unsigned long long)parts->size);
    r = hub_parts_write(parts, piece->i, data, size);
    return r ? failure_errno(failure, r, "cannot write", parts->path) : 0;
}

/* One part, until it is there: it goes on where a connection broke. */
static int fetch_piece(struct hub_http *http, struct piece *piece, struct failure *failure) {
    struct fetch *fetch = piece->fetch;
    struct hub_parts *parts = fetch->parts;
    uint64_t start = piece->i * parts->part_size, length = hub_parts_length(parts, piece->i);

    for (int n = 1, attempts = 0; attempts < ATTEMPTS_MAX; n++, attempts++) {
        uint64_t before = fetch->whole ? 0 : parts->done[piece->i];
        struct hub_request request = {.url = fetch->download->url,
                                      .ranged = !fetch->whole,
                                      .first = start + before,
                                      .last = start + length - 1,
                                      .ctx = piece,
                                      .begin = piece_begin,
                                      .data = piece_data};
        struct hub_reply reply = {};
        int r = fetch->whole ? hub_parts_forget(parts, piece->i) : 0;

        if (r)
            return failure_errno(failure, r, "cannot write", parts->path);
        failure->retryable = false;
        r = hub_http_once(http, &request, &reply, failure);
        if (parts->done[piece->i] == length && (!r || failure->retryable))
            return 0;
        if (!r) {
            r = failure_set(failure, -ECOMM, "hub_unreachable", "try again later",
                            "cannot fetch '%s': the answer ends before the file",
                            fetch->download->name);
            failure->retryable = true;
        }
        if (!failure->retryable)
            return r;
        if (!fetch->whole && parts->done[piece->i] > before)
            n = 1;
        r = hub_http_wait(http, &reply, n, r, failure);
        if (r)
            return r;
    }
    return failure_set(failure, -ECOMM, "hub_unreachable", "try again later",
                       "cannot fetch '%s': the connection broke %d times", fetch->download->name,
                       ATTEMPTS_MAX);
}

/* Takes the next part that is not whole. */
static bool take_piece(struct fetch *fetch, struct piece *piece) {
    bool found = false;

    pthread_mutex_lock(&fetch->mutex);
    while (!found && !fetch->r && fetch->next < fetch->parts->n) {
        piece->i = fetch->next++;
        found = fetch->parts->done[piece->i] < hub_parts_length(fetch->parts, piece->i);
    }
    pthread_mutex_unlock(&fetch->mutex);
    return found;
}

static void note_failure(struct fetch *fetch, const struct piece *piece, int r,
                         const struct failure *failure) {
    pthread_mutex_lock(&fetch->mutex);
    if (!fetch->r || fetch->r == -ECANCELED) {
        fetch->r = r;
        fetch->failure = *failure;
    }
    fetch->no_ranges = fetch->no_ranges || piece->refused_range;
    pthread_mutex_unlock(&fetch->mutex);
    *fetch->stop = true;
}

static bool is_stopped(void *ctx) {
    struct fetch *fetch = ctx;

    return *fetch->stop;
}

/* One connection. */
static int run_connection(void *ctx) {
    struct fetch *fetch = ctx;
    struct piece piece = {.fetch = fetch};
    cleanup(hub_http_freep) struct hub_http *http = NULL;
    struct failure failure;
    int r = hub_http_new(&fetch->client->site, is_stopped, fetch, &http, &failure);

    while (!r && take_piece(fetch, &piece))
        r = fetch_piece(http, &piece, &failure);
    if (r)
        note_failure(fetch, &piece, r, &failure);
    return r;
}

/* Runs the connections; the calling thread reports their progress. */
static int run_connections(struct hub_pull *pull, struct fetch *fetch, struct failure *failure) {
    const struct timespec tick = {.tv_nsec = TICK_NS};
    int n = (int)MIN(fetch->parts->n, (uint64_t)CONNECTIONS), n_done;
    struct task tasks[CONNECTIONS] = {};
    int r = 0;

    fetch->next = 0;
    fetch->r = 0;
    pull->stop = false;
    for (int i = 0; i < n && !r; i++)
        r = task_start(&tasks[i], run_connection, fetch);
    if (r)
        pull->stop = true;
    do {
        n_done = 0;
        for (int i = 0; i < n; i++)
            n_done += !tasks[i].started || task_is_done(&tasks[i]);
        if (hub_pull_tick(pull, fetch->download->name, hub_parts_have(fetch->parts)))
            pull->stop = true;
        if (n_done < n)
            nanosleep(&tick, NULL);
    } while (n_done < n);
    for (int i = 0; i < n; i++)
        task_finish(&tasks[i]);
    if (r)
        return failure_errno(failure, r, "cannot start a thread for", fetch->download->name);
    if (pull->observer->cancelled(pull->observer->ctx))
        return hub_cancelled(failure);
    if (fetch->r)
        *failure = fetch->failure;
    return fetch->r;
}

/* Compares the digest of what came. Return: 0, -EBADMSG, -ECANCELED, -errno. */
static int verify(struct hub_pull *pull, const struct hub_download *d, int fd,
                  struct failure *failure) {
    cleanup(digest_freep) struct digest *digest = digest_new(d->kind);
    cleanup(freep) unsigned char *block = malloc(BLOCK_SIZE);
    char text[DIGEST_TEXT_SIZE], head[64];
    uint64_t at = 0;

    if (!d->digest)
        return 0;
    if (!digest || !block)
        return failure_oom(failure);
    if (d->git)
        digest_update(
            digest, head,
            (size_t)snprintf(head, sizeof(head), "blob %llu", (unsigned long long)d->size) + 1);
    while (at < d->size) {
        ssize_t n = pread(fd, block, BLOCK_SIZE, (off_t)at);

        if (n <= 0)
            return failure_errno(failure, n ? -errno : -EIO, "cannot read", d->name);
        digest_update(digest, block, (size_t)n);
        at += (uint64_t)n;
        if (hub_pull_tick(pull, d->name, d->size))
            return hub_cancelled(failure);
    }
    digest_finish(digest, text);
    if (str_equal(text, d->digest))
        return 0;
    return failure_set(failure, -EBADMSG, "hub_invalid",
                       "try again later; if it happens again, the hub or a proxy is faulty",
                       "the data of '%s' does not have the announced hash %s", d->name, d->digest);
}

/* All parts, verified and published. */
static int fetch_file(struct hub_pull *pull, const struct hub_download *d,
                      struct failure *failure) {
    cleanup(hub_parts_freep) struct hub_parts *parts = NULL;
    struct fetch fetch = {.download = d, .client = pull->client, .stop = &pull->stop};
    bool resumed;
    int r = hub_parts_open(d->path, d->size, pull->client->part_size, &parts, failure);

    if (r)
        return r;
    resumed = hub_parts_have(parts) > 0;
    fetch.parts = parts;
    pthread_mutex_init(&fetch.mutex, NULL);
    /* Three rounds at most: with ranges, without, and anew when old parts were damaged. */
    for (int i = 0; i < 3; i++) {
        r = run_connections(pull, &fetch, failure);
        if (r && fetch.no_ranges && !fetch.whole && r != -ECANCELED) {
            fetch.whole = true;
            r = hub_parts_restart(parts, true);
            if (r) {
                failure_errno(failure, r, "cannot write", parts->path);
                break;
            }
            continue;
        }
        pull->checking = true;
        if (!r)
            r = verify(pull, d, parts->fd, failure);
        pull->checking = false;
        if (r != -EBADMSG)
            break;
        /* A lie costs its bytes; what an earlier process left is worth one more try. */
        if (hub_parts_restart(parts, fetch.whole) || !resumed) {
            hub_parts_remove(d->path);
            break;
        }
        resumed = false;
    }
    pthread_mutex_destroy(&fetch.mutex);
    if (r)
        return r;
    r = hub_parts_publish(parts, d->path);
    return r ? failure_errno(failure, r, "cannot publish", d->path) : 0;
}

static bool is_there(const struct hub_download *d) {
    struct stat st;

    return !lstat(d->path, &st) && S_ISREG(st.st_mode) && (uint64_t)st.st_size == d->size;
}

/* Waits for another process that fetches the same file; the kernel drops the lock of a dead one. */
static int take_lock(struct hub_pull *pull, const struct hub_download *d, int *ret_fd,
                     struct failure *failure) {
    const struct timespec tick = {.tv_nsec = TICK_NS};
    cleanup(closep) int fd = open(d->lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);

    if (fd < 0)
        return failure_errno(failure, -errno, "cannot open", d->lock);
    while (flock(fd, LOCK_EX | LOCK_NB)) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return failure_errno(failure, -errno, "cannot lock", d->lock);
        if (hub_pull_tick(pull, d->name, 0))
            return hub_cancelled(failure);
        nanosleep(&tick, NULL);
    }
    *ret_fd = steal_fd(&fd);
    return 0;
}

int hub_download(struct hub_pull *pull, const struct hub_download *download,
                 struct failure *failure) {
    cleanup(closep) int lock = -1;
    int r = 0;

    if (!is_there(download)) {
        r = take_lock(pull, download, &lock, failure);
        if (!r && !is_there(download))
            r = fetch_file(pull, download, failure);
    }
    if (r)
        return r;
    pull->bytes += download->size;
    pull->notified_at = 0; /* the end of a file is always reported */
    return hub_pull_tick(pull, download->name, 0) ? hub_cancelled(failure) : 0;
}
