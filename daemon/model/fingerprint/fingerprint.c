// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/fingerprint/fingerprint.h"

#include "base/file.h"
#include "base/macros.h"
#include "base/task.h"
#include "daemon/model/fingerprint/hash_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define THREADS_MIN 4
#define THREADS_MAX 8                /* when there are twice as many processors */
#define STEP_BYTES ((size_t)1 << 20) /* read and hashed at a time */

struct file_hash {
    char text[SHA256_TEXT_SIZE]; /* "": not known yet */
    bool is_new;                 /* not from the cache */
};

struct fingerprint {
    const struct fingerprint_file *files; /* [n], borrowed */
    size_t n;
    struct file_hash *hashes; /* [n], owned; each written by one thread */
    char *description;        /* owned */
    struct hash_cache cache;  /* of the thread that owns the fingerprint */
    atomic_size_t next;       /* the next file that a thread takes */
    atomic_bool stop;
    struct task tasks[THREADS_MAX];
    int n_tasks;
};

/* Opens the file that was opened before under this name, or gives -ESTALE. */
static int open_same(const struct fingerprint_file *file, int *ret_fd) {
    cleanup(closep) int fd = file_open_in(file->root, file->path, O_RDONLY | O_NONBLOCK);
    struct identity identity;
    int r;

    if (fd < 0)
        return fd == -ENOENT || fd == -EXDEV || fd == -ELOOP ? -ESTALE : fd;
    r = identity_of_fd(fd, &identity);
    if (r)
        return r;
    if (!identity_equal(&identity, &file->identity))
        return -ESTALE;
    *ret_fd = steal_fd(&fd);
    return 0;
}

static int hash_file(struct fingerprint *fingerprint, size_t i) {
    const struct fingerprint_file *file = &fingerprint->files[i];
    cleanup(sha256_freep) struct sha256 *hash = sha256_new();
    cleanup(freep) unsigned char *block = malloc(STEP_BYTES);
    cleanup(closep) int fd = -1;
    ssize_t n;
    int r;

    if (!hash || !block)
        return -ENOMEM;
    r = open_same(file, &fd);
    if (r)
        return r;
    while ((n = read(fd, block, STEP_BYTES)) != 0) {
        if (atomic_load(&fingerprint->stop))
            return -ECANCELED;
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0)
            sha256_update(hash, block, n);
    }
    sha256_finish(hash, fingerprint->hashes[i].text);
    return 0;
}

static int hash_files(void *ctx) {
    struct fingerprint *fingerprint = ctx;
    size_t i;

    while ((i = atomic_fetch_add(&fingerprint->next, 1)) < fingerprint->n) {
        int r = fingerprint->hashes[i].is_new ? hash_file(fingerprint, i) : 0;

        if (r)
            return r;
    }
    return 0;
}

static size_t threads_at_most(void) {
    long processors = sysconf(_SC_NPROCESSORS_ONLN);

    return (size_t)MIN(MAX(processors / 2, (long)THREADS_MIN), (long)THREADS_MAX);
}

/* Fills in what the cache has. Return: how many files are left to hash. */
static size_t look_up(struct fingerprint *fingerprint) {
    size_t n_left = 0;

    for (size_t i = 0; i < fingerprint->n; i++) {
        struct file_hash *hash = &fingerprint->hashes[i];

        hash->is_new =
            !hash_cache_find(&fingerprint->cache, &fingerprint->files[i].identity, hash->text);
        n_left += hash->is_new;
    }
    return n_left;
}

int fingerprint_start(const struct fingerprint_file *files, size_t n, const char *description,
                      const char *cache_path, struct fingerprint **ret_fingerprint,
                      struct failure *failure) {
    cleanup(fingerprint_freep) struct fingerprint *fingerprint = calloc(1, sizeof(*fingerprint));
    size_t n_threads;

    if (!fingerprint)
        return failure_oom(failure);
    fingerprint->files = files;
    fingerprint->n = n;
    fingerprint->hashes = calloc(n ? n : 1, sizeof(*fingerprint->hashes));
    fingerprint->description = strdup(description);
    if (!fingerprint->hashes || !fingerprint->description ||
        hash_cache_open(cache_path, &fingerprint->cache))
        return failure_oom(failure);
    n_threads = MIN(look_up(fingerprint), threads_at_most());
    for (size_t i = 0; i < n_threads; i++) {
        int r = task_start(&fingerprint->tasks[i], hash_files, fingerprint);

        if (r)
            return failure_errno(failure, r, "cannot start a thread that hashes", files[0].path);
        fingerprint->n_tasks++;
    }
    *ret_fingerprint = steal_ptr(fingerprint);
    return 0;
}

bool fingerprint_is_known(const struct fingerprint *fingerprint) {
    for (int i = 0; i < fingerprint->n_tasks; i++) {
        if (!task_is_done(&fingerprint->tasks[i]))
            return false;
    }
    return true;
}

/* A hash is that of a file only when the file is still what it was at the start. */
static void remember(struct fingerprint *fingerprint) {
    for (size_t i = 0; i < fingerprint->n; i++) {
        const struct fingerprint_file *file = &fingerprint->files[i];
        struct identity now;

        if (fingerprint->hashes[i].is_new && !identity_of_path(file->root, file->path, &now) &&
            identity_equal(&now, &file->identity))
            hash_cache_put(&fingerprint->cache, &now, fingerprint->hashes[i].text);
        fingerprint->hashes[i].is_new = false;
    }
    hash_cache_close(&fingerprint->cache);
}

/* Says why the files could not be hashed. */
static int cannot_hash(const struct fingerprint *fingerprint, int r, struct failure *failure) {
    if (r == -ENOMEM)
        return failure_oom(failure);
    if (r == -ESTALE)
        return failure_set(failure, r, "model_changed", IDENTITY_CHANGED_HINT,
                           "a file of the model was changed or replaced while it was hashed");
    return failure_errno(failure, r, "cannot hash the model's files, the first of which is",
                         fingerprint->files[0].path);
}

int fingerprint_wait(struct fingerprint *fingerprint, char ret_text[SHA256_TEXT_SIZE],
                     struct failure *failure) {
    cleanup(sha256_freep) struct sha256 *hash = sha256_new();
    int r = hash ? 0 : -ENOMEM;

    for (int i = 0; i < fingerprint->n_tasks; i++) {
        int result = task_finish(&fingerprint->tasks[i]);

        r = r ? r : result;
    }
    fingerprint->n_tasks = 0;
    if (r)
        return cannot_hash(fingerprint, r, failure);
    remember(fingerprint);
    /* Texts without a NUL inside, each with the NUL that ends it: no two lists look alike. */
    sha256_update(hash, fingerprint->description, strlen(fingerprint->description) + 1);
    for (size_t i = 0; i < fingerprint->n; i++) {
        sha256_update(hash, fingerprint->files[i].name, strlen(fingerprint->files[i].name) + 1);
        sha256_update(hash, fingerprint->hashes[i].text, SHA256_TEXT_SIZE);
    }
    sha256_finish(hash, ret_text);
    return 0;
}

const char *fingerprint_sha256(const struct fingerprint *fingerprint, size_t i) {
    return fingerprint->hashes[i].text;
}

void fingerprint_free(struct fingerprint *fingerprint) {
    if (!fingerprint)
        return;
    atomic_store(&fingerprint->stop, true);
    for (int i = 0; i < fingerprint->n_tasks; i++)
        task_finish(&fingerprint->tasks[i]);
    hash_cache_close(&fingerprint->cache);
    free(fingerprint->description);
    free(fingerprint->hashes);
    free(fingerprint);
}
