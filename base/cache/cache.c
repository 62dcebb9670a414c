// SPDX-License-Identifier: Apache-2.0
#include "base/cache/cache.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "base/macros.h"
#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define NEW "new-" /* begins the name of a file that is being written */
#define FILES_MAX 65536

/* ---- the folder ---- */

static bool is_hex(const char *text, size_t n) {
    return strlen(text) == n && strspn(text, "0123456789abcdef") == n;
}

static int make_id(char ret_id[CACHE_ID_SIZE]) {
    unsigned char bytes[(CACHE_ID_SIZE - 1) / 2];

    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
        return -EIO;
    for (size_t i = 0; i < sizeof(bytes); i++)
        snprintf(ret_id + 2 * i, 3, "%02x", bytes[i]);
    return 0;
}

/* Return: 0; -ENOENT: there is none, or no valid one; or -errno. */
static int read_id(const char *dir, char ret_id[CACHE_ID_SIZE]) {
    cleanup(freep) char *path = str_format("%s/id", dir), *text = NULL;
    size_t size;
    int r;

    if (!path)
        return -ENOMEM;
    r = file_read(path, CACHE_ID_SIZE - 1, &text, &size);
    if (r || !is_hex(text, CACHE_ID_SIZE - 1))
        return r == -ENOMEM ? r : -ENOENT;
    memcpy(ret_id, text, CACHE_ID_SIZE);
    return 0;
}

static int write_id(const char *dir, char ret_id[CACHE_ID_SIZE]) {
    cleanup(freep) char *path = str_format("%s/id", dir);
    int r = path ? make_id(ret_id) : -ENOMEM;

    return r ? r : file_replace(path, ret_id, CACHE_ID_SIZE - 1);
}

static int init(struct cache *cache, const char *dir, const char *id, uint64_t limit,
                uint64_t floor) {
    cache->dir = strdup(dir);
    if (!cache->dir)
        return -ENOMEM;
    memcpy(cache->id, id, CACHE_ID_SIZE);
    cache->limit = limit;
    cache->floor = floor;
    return 0;
}

int cache_open(struct cache *cache, const char *dir, uint64_t limit, uint64_t floor) {
    char id[CACHE_ID_SIZE];
    int r = dir_make_mode(dir, 0700);

    *cache = (struct cache){};
    if (!r)
        r = read_id(dir, id);
    if (r == -ENOENT)
        r = write_id(dir, id);
    return r ? r : init(cache, dir, id, limit, floor);
}

int cache_join(struct cache *cache, const char *dir, const char *id, uint64_t limit,
               uint64_t floor) {
    char found[CACHE_ID_SIZE];
    int r = read_id(dir, found);

    *cache = (struct cache){};
    if (!r && !str_equal(found, id))
        r = -ENOENT;
    return r ? r : init(cache, dir, found, limit, floor);
}

void cache_close(struct cache *cache) {
    free(cache->dir);
    cache->dir = NULL;
}

bool cache_is_on(const struct cache *cache) {
    return cache && cache->dir && cache->limit > 0;
}

/* ---- what is there ---- */

struct entry {
    char name[CACHE_NAME_SIZE];
    struct timespec used;
    uint64_t bytes;
    bool is_new;
};

struct entries {
    struct entry *list; /* owned; the longest unused first */
    int n;
    uint64_t bytes;
};

static void entries_done(struct entries *entries) {
    free(entries->list);
}

static int compare_use(const void *a, const void *b) {
    const struct timespec *x = &((const struct entry *)a)->used;
    const struct timespec *y = &((const struct entry *)b)->used;

    if (x->tv_sec != y->tv_sec)
        return x->tv_sec < y->tv_sec ? -1 : 1;
    return (x->tv_nsec > y->tv_nsec) - (x->tv_nsec < y->tv_nsec);
}

/* Anything else in the folder is left alone. */
static int add_entry(struct entries *entries, int dir_fd, const char *name) {
    bool is_new = !strncmp(name, NEW, strlen(NEW)) && strlen(name) < CACHE_NAME_SIZE;
    struct entry *list, *entry;
    struct stat st;

    if (!is_new && !is_hex(name, CACHE_NAME_SIZE - 1))
        return 0;
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode))
        return 0;
    list = realloc(entries->list, (entries->n + 1) * sizeof(*list));
    if (!list)
        return -ENOMEM;
    entries->list = list;
    entry = &list[entries->n++];
    *entry = (struct entry){.used = st.st_mtim, .bytes = (uint64_t)st.st_size, .is_new = is_new};
    memcpy(entry->name, name, strlen(name) + 1);
    entries->bytes += entry->bytes;
    return 0;
}

static int list_entries(const struct cache *cache, struct entries *ret_entries) {
    struct dirent *item;
    DIR *dir = opendir(cache->dir);
    int r = 0;

    if (!dir)
        return -errno;
    while (!r && ret_entries->n < FILES_MAX && (item = readdir(dir)))
        r = add_entry(ret_entries, dirfd(dir), item->d_name);
    closedir(dir);
    if (!r && ret_entries->n)
        qsort(ret_entries->list, ret_entries->n, sizeof(*ret_entries->list), compare_use);
    return r;
}

static char *path_of(const struct cache *cache, const char *name) {
    return str_format("%s/%s", cache->dir, name);
}

/* Its writer holds the lock of a new file as long as it lives. */
static bool is_abandoned(const char *path) {
    cleanup(closep) int fd = open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    return fd >= 0 && !flock(fd, LOCK_EX | LOCK_NB);
}

/* Return: the bytes that came free. */
static uint64_t remove_entry(const struct cache *cache, const struct entry *entry) {
    cleanup(freep) char *path = path_of(cache, entry->name);

    if (!path || (entry->is_new && !is_abandoned(path)) || unlink(path))
        return 0;
    return entry->bytes;
}

/* What has to go so that the disk has room for @bytes more. */
static int disk_excess(const struct cache *cache, uint64_t bytes, uint64_t *ret_excess) {
    uint64_t wanted = MIN(cache->floor, INT64_MAX) + MIN(bytes, INT64_MAX), free;
    struct statvfs st;

    if (statvfs(cache->dir, &st))
        return -errno;
    free = (uint64_t)st.f_bavail * st.f_frsize;
    *ret_excess = wanted > free ? wanted - free : 0;
    return 0;
}

/* Removes until @bytes more keep to the limit and leave the disk its room. */
static int make_room(const struct cache *cache, uint64_t bytes) {
    cleanup(entries_done) struct entries entries = {};
    uint64_t excess, limit = cache->limit, kept;
    int r = bytes > limit ? -EFBIG : list_entries(cache, &entries);

    if (!r)
        r = disk_excess(cache, bytes, &excess);
    if (!r && bytes > 0 && excess > entries.bytes)
        r = -ENOSPC; /* whatever went would not be enough */
    kept = entries.bytes;
    for (int i = 0; i < entries.n && !r; i++) {
        const struct entry *entry = &entries.list[i];

        if (entry->is_new || kept > limit - bytes || excess > 0)
            kept -= remove_entry(cache, entry);
        r = disk_excess(cache, bytes, &excess);
    }
    if (r)
        return r;
    return kept <= limit - bytes && excess == 0 ? 0 : -ENOSPC;
}

/* ---- files ---- */

int cache_find(const struct cache *cache, const char *name, uint64_t *ret_size) {
    cleanup(freep) char *path = path_of(cache, name);
    cleanup(closep) int fd = -1;
    struct stat st;

    if (!path)
        return -ENOMEM;
    fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (fstat(fd, &st))
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    futimens(fd, NULL); /* of another user's it stays the older one */
    *ret_size = (uint64_t)st.st_size;
    return steal_fd(&fd);
}

void cache_drop(const struct cache *cache, const char *name) {
    cleanup(freep) char *path = path_of(cache, name);

    if (path)
        unlink(path);
}

/* Takes the room at once, where the file system can. */
static int take_room(int fd, uint64_t bytes) {
    if (bytes > INT64_MAX)
        return -EFBIG;
    return fallocate(fd, 0, 0, (off_t)bytes) && errno != EOPNOTSUPP ? -errno : 0;
}

int cache_begin(const struct cache *cache, uint64_t bytes, struct cache_file *ret_file) {
    struct cache_file file = {.fd = -1};
    int r = make_room(cache, bytes);

    if (r)
        return r;
    file.path = path_of(cache, NEW "XXXXXX");
    if (!file.path)
        return -ENOMEM;
    file.fd = mkostemp(file.path, O_CLOEXEC);
    if (file.fd < 0) {
        r = -errno;
        free(file.path);
        return r;
    }
    r = flock(file.fd, LOCK_EX | LOCK_NB) ? -errno : take_room(file.fd, bytes);
    if (r)
        cache_abandon(&file);
    else
        *ret_file = file;
    return r;
}

int cache_publish(const struct cache *cache, struct cache_file *file, const char *name) {
    cleanup(freep) char *path = path_of(cache, name);
    int r = path ? 0 : -ENOMEM;

    if (!r && rename(file->path, path))
        r = -errno;
    if (r) {
        cache_abandon(file);
        return r;
    }
    close(file->fd);
    free(file->path);
    *file = (struct cache_file){};
    return 0;
}

void cache_abandon(struct cache_file *file) {
    if (!file->path)
        return;
    unlink(file->path);
    close(file->fd);
    free(file->path);
    *file = (struct cache_file){};
}

int cache_sweep(const struct cache *cache) {
    return cache->dir ? make_room(cache, 0) : 0;
}

int cache_measure(const struct cache *cache, int *ret_files, uint64_t *ret_bytes) {
    cleanup(entries_done) struct entries entries = {};
    int r = cache->dir ? list_entries(cache, &entries) : 0;

    *ret_files = entries.n;
    *ret_bytes = entries.bytes;
    return r;
}
