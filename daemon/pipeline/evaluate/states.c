// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/evaluate/states.h"

#include "base/hash.h"
#include "base/json.h"
#include "base/str.h"
#include "daemon/pipeline/evaluate/original.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STATES_FORMAT 1
#define KEY_BYTES_MAX 4096
#define HASH_BYTES 80 /* of a window's hash in JSON, at most */

/* ---- the key ---- */

static const char *fingerprint_of(const struct run *run) {
    return run->original->own ? run->original->fingerprint : run->fingerprint;
}

/* All that the bytes follow from; NULL when out of memory. */
static json_t *key_of(const struct states *states) {
    const struct run *run = states->run;
    struct backend_info info;

    run->b->ops->info(run->b, &info);
    return json_pack("{s:i s:s s:s s:s s:s s:s s:i s:i s:I s:i s:i}", "format", STATES_FORMAT,
                     "version", QUANTD_VERSION, "device", info.model, "library", info.library,
                     "model", fingerprint_of(run), "windows", states->windows->sha256, "n",
                     states->windows->n, "seqlen", states->windows->seqlen, "window_bytes",
                     (json_int_t)states->window, "batch", states->batch, "chunk", states->chunk);
}

static size_t data_bytes(const struct states *states) {
    return states->windows->n * states->window;
}

static size_t rest_bytes_max(const struct states *states) {
    return KEY_BYTES_MAX + (size_t)states->windows->n * HASH_BYTES;
}

/* ---- threads ---- */

static int move_window(struct states *states, int window, unsigned char *at) {
    off_t offset = (off_t)window * (off_t)states->window;
    char hash[SHA256_TEXT_SIZE];
    size_t done = 0;

    while (done < states->window) {
        ssize_t n =
            states->reads
                ? pread(states->fd, at + done, states->window - done, offset + (off_t)done)
                : pwrite(states->file.fd, at + done, states->window - done, offset + (off_t)done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n ? -errno : -EIO;
        done += (size_t)n;
    }
    if (sha256_of(at, states->window, hash))
        return -ENOMEM;
    if (states->reads)
        return sha256_equal(hash, states->hashes[window]) ? 0 : -EBADMSG;
    memcpy(states->hashes[window], hash, sizeof(hash));
    return 0;
}

static int run_share(void *ctx) {
    struct states_share *share = ctx;
    int r = 0;

    for (int i = share->begin; i < share->count && !r; i += share->step)
        r = move_window(share->states, share->first + i, share->at + i * share->states->window);
    return r;
}

/* Begins to move @count windows from @first on; they are at @at. */
static void start(struct states *states, int first, int count, unsigned char *at) {
    int n = MIN(count, task_processors(STATES_THREADS_MAX));

    for (int i = 0; i < n; i++) {
        struct states_share *share = &states->shares[i];

        *share = (struct states_share){states, {}, first, count, i, n, at};
        if (task_start(&share->task, run_share, share))
            share->task.result = run_share(share);
    }
}

/* Waits for them. Return: 0 or the first -errno. */
static int finish(struct states *states) {
    int first = 0;

    for (int i = 0; i < STATES_THREADS_MAX; i++) {
        struct states_share *share = &states->shares[i];
        int r = share->task.started ? task_finish(&share->task) : share->task.result;

        share->task = (struct task){};
        first = first ? first : r;
    }
    return first;
}

/* ---- a set ---- */

static void stop_reading(struct states *states) {
    if (states->reads)
        close(states->fd);
    states->reads = false;
}

/* The hash of each window, from the file's end; anything else there is refused. */
static int read_hashes(struct states *states, const json_t *key, uint64_t size) {
    cleanup(json_decrefp) json_t *rest = NULL;
    cleanup(freep) char *text = NULL;
    size_t n, data = data_bytes(states);
    json_t *hashes, *hash;
    size_t i;

    if (size <= data || size - data > rest_bytes_max(states))
        return -EBADMSG;
    n = size - data;
    text = malloc(n);
    if (!text)
        return -ENOMEM;
    if (pread(states->fd, text, n, (off_t)data) != (ssize_t)n ||
        json_parse(text, n, "the file", "damaged", &rest, NULL) ||
        !json_equal(json_object_get(rest, "key"), key))
        return -EBADMSG;
    hashes = json_object_get(rest, "sha256");
    if (!json_is_array(hashes) || json_array_size(hashes) != (size_t)states->windows->n)
        return -EBADMSG;
    json_array_foreach(hashes, i, hash) {
        if (json_string_length(hash) != SHA256_TEXT_SIZE - 1)
            return -EBADMSG;
        memcpy(states->hashes[i], json_string_value(hash), SHA256_TEXT_SIZE);
    }
    return 0;
}

/* Looks for the file; one that is damaged is dropped. */
static int find_file(struct states *states) {
    cleanup(json_decrefp) json_t *key = key_of(states);
    uint64_t size;
    int fd, r = json_sha256(key, states->name);

    if (r)
        return r;
    fd = cache_find(states->cache, states->name, &size);
    if (fd < 0)
        return fd == -ENOMEM ? fd : 0;
    states->fd = fd;
    states->reads = true;
    r = read_hashes(states, key, size);
    if (!r)
        return 0;
    stop_reading(states);
    cache_drop(states->cache, states->name);
    return r == -ENOMEM ? r : 0;
}

/* Without the room, or with another trouble, nothing is kept. */
static int begin_file(struct states *states) {
    int r = cache_begin(states->cache, data_bytes(states) + rest_bytes_max(states), &states->file);

    states->writes = r == 0;
    return r == -ENOMEM ? r : 0;
}

static int begin(struct states *states) {
    int r = 0;

    states->hashes = calloc(states->windows->n, sizeof(*states->hashes));
    if (!states->hashes)
        return -ENOMEM;
    if (fingerprint_of(states->run)[0])
        r = find_file(states);
    return r || states->reads ? r : begin_file(states);
}

size_t states_buffer_size(const struct run *run) {
    return cache_is_on(run->job->states) ? run->batch * run_window_bytes(run) : 0;
}

int states_begin(struct states *states, struct run *run, const struct windows *windows, int chunk,
                 unsigned char *buffer) {
    int r;

    *states = (struct states){.cache = run->job->states,
                              .run = run,
                              .windows = windows,
                              .chunk = MIN(chunk, windows->n),
                              .window = run_window_bytes(run),
                              .buffer = buffer};
    states->batch = MIN(run->batch, states->chunk);
    if (!cache_is_on(states->cache))
        return 0;
    /* A model that is still being hashed is no reason to wait. */
    r = run->original->own ? 0 : work_learn_fingerprint(run, false);
    if (r)
        return r;
    r = begin(states);
    return r == -ENOMEM ? failure_oom(run->failure) : r;
}

int states_read(struct states *states, int first, int count, struct span kept,
                unsigned char *host) {
    struct run *run = states->run;
    int r = states->reads ? 0 : -ENOENT, failed = 0;

    for (int i = 0; i < count && !r && !failed; i += states->batch) {
        int some = MIN(states->batch, count - i);
        size_t at = i * states->window, size = some * states->window;

        start(states, first + i, some, kept.at ? states->buffer : host + at);
        failed = finish(states);
        if (!failed && kept.at)
            r = run->b->ops->upload(run->b, span_slice(kept, at, size), states->buffer);
        if (!r && !failed)
            r = run->b->ops->sync(run->b); /* before the buffer is used again */
    }
    if (!failed)
        return r;
    stop_reading(states);
    cache_drop(states->cache, states->name);
    if (first > 0) /* a part of the set is not worth a file */
        return -ENOENT;
    r = begin_file(states);
    return r ? failure_oom(run->failure) : -ENOENT;
}

int states_write(struct states *states, int first, int count, struct span kept,
                 unsigned char *host) {
    struct run *run = states->run;
    int r = 0;

    if (!states->writes)
        return 0;
    if (finish(states)) {
        states->writes = false;
        return 0;
    }
    if (kept.at)
        r = run->b->ops->download(run->b, states->buffer, kept);
    if (!r)
        start(states, first, count, kept.at ? states->buffer : host);
    return r;
}

void states_wait(struct states *states) {
    if (states->writes && finish(states))
        states->writes = false;
}

/* The end of the file, after the windows. */
static int write_rest(struct states *states, const json_t *key) {
    cleanup(json_decrefp) json_t *hashes = json_array(), *rest = NULL;
    cleanup(freep) char *text = NULL;
    off_t data = (off_t)data_bytes(states);
    size_t n;

    for (int i = 0; i < states->windows->n; i++) {
        if (json_array_append_new(hashes, json_string(states->hashes[i])))
            return -ENOMEM;
    }
    rest = json_pack("{s:O s:O}", "key", key, "sha256", hashes);
    text = rest ? json_text(rest, JSON_SORT_KEYS | JSON_COMPACT) : NULL;
    if (!text)
        return -ENOMEM;
    n = strlen(text);
    if (pwrite(states->file.fd, text, n, data) != (ssize_t)n ||
        ftruncate(states->file.fd, data + (off_t)n))
        return -EIO;
    return 0;
}

int states_end(struct states *states) {
    cleanup(json_decrefp) json_t *key = NULL;
    char name[CACHE_NAME_SIZE];
    int r;

    states_wait(states);
    if (!states->writes)
        return 0;
    r = states->run->original->own ? 0 : work_learn_fingerprint(states->run, true);
    if (r)
        return r;
    key = key_of(states);
    r = json_sha256(key, name);
    if (!r)
        r = write_rest(states, key);
    if (!r)
        r = cache_publish(states->cache, &states->file, name);
    return r == -ENOMEM ? failure_oom(states->run->failure) : 0;
}

void states_done(struct states *states) {
    if (!states->run)
        return;
    finish(states);
    stop_reading(states);
    cache_abandon(&states->file);
    free(states->hashes);
    *states = (struct states){};
}
