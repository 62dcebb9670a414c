// SPDX-License-Identifier: Apache-2.0
/* What is in the cache, and what leaves it. */
#include "base/bytes.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log/log.h"
#include "base/macros.h"
#include "base/str.h"
#include "daemon/data/hub/cache.h"
#include "daemon/data/hub/parts.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>

#define MODELS_MAX 10000
#define REVISIONS_MAX 100
#define STALE_SECONDS (7 * 24 * 3600)
#define TRASH ".quantd-trash-"

/* A model in the cache. */
struct entry {
    char id[HUB_ID_MAX];
    uint64_t bytes;
    int64_t used; /* seconds since 1970; 0: never by us */
};

struct entries {
    struct entry *at;
    size_t n, capacity;
};

static void entries_done(struct entries *entries) {
    free(entries->at);
}

/* "models--org--name" as "org/name". */
static bool id_of(const char *folder, char id[HUB_ID_MAX]) {
    const char *org = folder + strlen("models--"), *name;

    if (!str_has_prefix(folder, "models--"))
        return false;
    name = strstr(org, "--");
    if (!name || strlen(folder) >= HUB_ID_MAX)
        return false;
    snprintf(id, HUB_ID_MAX, "%.*s/%s", (int)(name - org), org, name + 2);
    return hub_id_valid(id);
}

/* Bytes on disk of all regular files in the folder @path, without following links. */
static uint64_t bytes_of(const char *path) {
    cleanup(closedirp) DIR *dir = NULL;
    struct dirent *entry;
    uint64_t bytes = 0;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir && fd >= 0)
        close(fd);
    while (dir && (entry = readdir(dir))) {
        struct stat st;

        if (!fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) && S_ISREG(st.st_mode))
            bytes += (uint64_t)st.st_blocks * 512;
    }
    return bytes;
}

static int add_entry(struct hub_client *client, struct entries *entries, const char *id) {
    cleanup(hub_repo_done) struct hub_repo repo = {};
    cleanup(freep) char *blobs = NULL;
    struct stat st;
    struct entry *entry;

    if (entries->n == entries->capacity) {
        size_t capacity = entries->capacity * 2 + 16;
        struct entry *grown = realloc(entries->at, capacity * sizeof(*grown));

        if (!grown)
            return -ENOMEM;
        entries->at = grown;
        entries->capacity = capacity;
    }
    if (hub_repo_init(&repo, client, HUB_MODEL, id, NULL) ||
        !(blobs = str_format("%s/blobs", repo.dir)))
        return -ENOMEM;
    entry = &entries->at[entries->n++];
    *entry = (struct entry){.bytes = bytes_of(blobs)};
    snprintf(entry->id, sizeof(entry->id), "%s", id);
    if (!stat(repo.used, &st))
        entry->used = st.st_mtime;
    return 0;
}

static int compare_bytes(const void *a, const void *b) {
    const struct entry *x = a, *y = b;

    return x->bytes != y->bytes ? (x->bytes < y->bytes ? 1 : -1) : strcmp(x->id, y->id);
}

static int read_entries(struct hub_client *client, struct entries *entries) {
    cleanup(closedirp) DIR *dir = opendir(client->cache_dir);
    struct dirent *entry;
    char id[HUB_ID_MAX];

    if (!dir)
        return errno == ENOENT ? 0 : -errno;
    while ((entry = readdir(dir)) && entries->n < MODELS_MAX) {
        int r = id_of(entry->d_name, id) ? add_entry(client, entries, id) : 0;

        if (r)
            return r;
    }
    if (entries->n)
        qsort(entries->at, entries->n, sizeof(*entries->at), compare_bytes);
    return 0;
}

static json_t *revisions_of(const struct hub_repo *repo) {
    cleanup(freep) char *path = str_format("%s/snapshots", repo->dir);
    cleanup(closedirp) DIR *dir = path ? opendir(path) : NULL;
    json_t *list = json_array();
    struct dirent *entry;

    while (list && dir && (entry = readdir(dir)) && json_array_size(list) < REVISIONS_MAX) {
        if (!hub_commit_valid(entry->d_name))
            continue;
        json_array_append_new(list,
                              json_pack("{ss sb}", "commit", entry->d_name, "complete",
                                        !hub_repo_complete(repo, entry->d_name, NULL, 0, NULL)));
    }
    return list;
}

static bool is_pinned(struct hub_client *client, const char *id) {
    return client->pinned && client->pinned(client->ctx, id);
}

static json_t *entry_json(struct hub_client *client, const struct entry *entry) {
    cleanup(hub_repo_done) struct hub_repo repo = {};
    char text[CLOCK_TEXT_SIZE];
    json_t *used;

    if (hub_repo_init(&repo, client, HUB_MODEL, entry->id, NULL))
        return NULL;
    clock_format(entry->used * 1000, text);
    used = entry->used ? json_string(text) : json_null();
    return json_pack("{ss ss so sI so sb}", "id", entry->id, "object", "model", "revisions",
                     revisions_of(&repo), "bytes", (json_int_t)entry->bytes, "last_used_at", used,
                     "pinned", is_pinned(client, entry->id));
}

int hub_list_models(struct hub_client *client, json_t **ret_models, struct failure *failure) {
    cleanup(entries_done) struct entries entries = {};
    cleanup(json_decrefp) json_t *models = json_array();
    int r = models ? read_entries(client, &entries) : -ENOMEM;

    for (size_t i = 0; i < entries.n && !r; i++)
        r = json_array_append_new(models, entry_json(client, &entries.at[i])) ? -ENOMEM : 0;
    if (r)
        return failure_errno(failure, r, "cannot read the cache", client->cache_dir);
    *ret_models = steal_ptr(models);
    return 0;
}

void hub_note_use(struct hub_client *client, const char *id) {
    cleanup(hub_repo_done) struct hub_repo repo = {};
    cleanup(closep) int fd = -1;

    if (hub_repo_init(&repo, client, HUB_MODEL, id, NULL))
        return;
    fd = open(repo.used, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (fd < 0 || futimens(fd, NULL))
        log_warning("cannot note the use of '%s': %s", id, strerror(errno));
}

/* -------- removing -------- */

/* Moved away by one rename, so that no reader sees half of it; *ret_trash is to be deleted. */
static int move_away(struct hub_client *client, const char *id, char **ret_trash,
                     struct failure *failure) {
    static atomic_uint counter;
    cleanup(hub_repo_done) struct hub_repo repo = {};
    cleanup(freep) char *trash = NULL;
    int r = hub_repo_init(&repo, client, HUB_MODEL, id, failure);

    if (r)
        return r;
    trash = str_format("%s/" TRASH "%d-%u", client->cache_dir, (int)getpid(),
                       atomic_fetch_add(&counter, 1));
    if (!trash)
        return failure_oom(failure);
    if (rename(repo.dir, trash)) {
        r = errno == ENOENT ? -ENOENT : -errno;
        return r == -ENOENT ? failure_set(failure, r, "model_not_found",
                                          "list the models to see their names",
                                          "no model '%s' in the cache", id)
                            : failure_errno(failure, r, "cannot remove", id);
    }
    unlink(repo.used);
    *ret_trash = steal_ptr(trash);
    return 0;
}

/* Under hub_hold(). */
static int remove_model(struct hub_client *client, const char *id, char **ret_trash,
                        struct failure *failure) {
    if (is_pinned(client, id))
        return failure_set(failure, -EBUSY, "model_in_use",
                           "wait for the jobs that use it, or cancel them",
                           "cannot remove model '%s': a job that waits or runs uses it", id);
    return move_away(client, id, ret_trash, failure);
}

int hub_remove_model(struct hub_client *client, const char *id, uint64_t *ret_bytes,
                     struct failure *failure) {
    cleanup(freep) char *trash = NULL;
    cleanup(freep) char *blobs = NULL;
    int r;

    if (!hub_id_valid(id))
        return failure_set(failure, -ENOENT, "model_not_found",
                           "list the models to see their names", "no model '%s' in the cache", id);
    hub_hold(client);
    r = remove_model(client, id, &trash, failure);
    hub_release(client);
    if (r)
        return r;
    blobs = str_format("%s/blobs", trash);
    *ret_bytes = blobs ? bytes_of(blobs) : 0;
    r = dir_remove(trash);
    log_info("removed model '%s' from the cache, %llu bytes", id, (unsigned long long)*ret_bytes);
    return r ? failure_errno(failure, r, "cannot remove the files of", id) : 0;
}

/* -------- room -------- */

/* The one that was not used for the longest time, of those that we have used and no job needs. */
static const struct entry *find_oldest(struct hub_client *client, const struct entries *entries) {
    const struct entry *oldest = NULL;

    for (size_t i = 0; i < entries->n; i++) {
        const struct entry *entry = &entries->at[i];

        if (entry->used && (!oldest || entry->used < oldest->used) && !is_pinned(client, entry->id))
            oldest = entry;
    }
    return oldest;
}

/* Removes one model. Return: 0, or -ENOENT: none may go. */
static int remove_oldest(struct hub_client *client, uint64_t *total) {
    cleanup(entries_done) struct entries entries = {};
    cleanup(freep) char *trash = NULL;
    const struct entry *oldest;
    int r = read_entries(client, &entries);

    if (r)
        return r;
    *total = 0;
    for (size_t i = 0; i < entries.n; i++)
        *total += entries.at[i].bytes;
    hub_hold(client);
    oldest = find_oldest(client, &entries);
    r = oldest ? remove_model(client, oldest->id, &trash, NULL) : -ENOENT;
    hub_release(client);
    if (r)
        return r;
    log_notice("removed model '%s' from the cache to make room", oldest->id);
    *total -= MIN(oldest->bytes, *total);
    return dir_remove(trash);
}

static uint64_t bytes_cached(struct hub_client *client) {
    cleanup(entries_done) struct entries entries = {};
    uint64_t total = 0;

    if (read_entries(client, &entries))
        return 0;
    for (size_t i = 0; i < entries.n; i++)
        total += entries.at[i].bytes;
    return total;
}

static int look_at_disk(const struct hub_client *client, struct statvfs *ret_fs,
                        struct failure *failure) {
    if (statvfs(client->cache_dir, ret_fs))
        return failure_errno(failure, -errno, "cannot examine", client->cache_dir);
    return 0;
}

int hub_make_room(struct hub_client *client, uint64_t bytes, struct failure *failure) {
    uint64_t floor = client->disk_floor, limit = client->cache_limit;
    uint64_t total = limit ? bytes_cached(client) : 0, size, available;
    char needed[BYTES_TEXT_SIZE], there[BYTES_TEXT_SIZE], stays[BYTES_TEXT_SIZE];
    struct statvfs fs;
    int r = look_at_disk(client, &fs, failure);

    if (r)
        return r;
    size = (uint64_t)fs.f_blocks * fs.f_frsize; /* 0: not known */
    bytes_text((double)bytes, needed);
    bytes_text((double)size, there);
    if (size && bytes > size)
        return failure_set(failure, -EFBIG, "disk_full", "give --hub-cache a larger disk",
                           "cannot fetch %s: the whole disk has %s", needed, there);
    /* Each round removes one model. */
    while (limit && (bytes > limit || total > limit - bytes) && !remove_oldest(client, &total))
        ;
    r = look_at_disk(client, &fs, failure);
    if (r)
        return r;
    available = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (bytes == 0 || (available >= floor && available - floor >= bytes))
        return 0;
    bytes_text((double)available, there);
    bytes_text((double)floor, stays);
    return failure_set(failure, -ENOSPC, "disk_full",
                       "remove models with quantctl rm-model, or make room on the disk",
                       "cannot fetch %s: %s are free, and %s have to stay free", needed, there,
                       stays);
}

/* -------- sweeping -------- */

static bool is_stale(const char *path) {
    struct stat st;

    return !lstat(path, &st) && st.st_mtime < time(NULL) - STALE_SECONDS;
}

/* Partial files in @folder. */
static void sweep_parts(const char *folder) {
    cleanup(closedirp) DIR *dir = opendir(folder);
    struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        size_t n = strlen(entry->d_name);
        cleanup(freep) char *path = NULL;

        if (n < 6 || strcmp(entry->d_name + n - 5, ".part"))
            continue;
        path = str_format("%s/%.*s", folder, (int)n - 5, entry->d_name);
        if (path) {
            cleanup(freep) char *part = str_format("%s.part", path);

            if (part && is_stale(part)) {
                hub_parts_remove(path);
                log_info("removed the partial file '%s'", part);
            }
        }
    }
}

void hub_sweep(struct hub_client *client) {
    cleanup(closedirp) DIR *dir = opendir(client->cache_dir);
    cleanup(freep) char *files = str_format("%s/files", client->own_dir);
    struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        cleanup(freep) char *path = str_format("%s/%s", client->cache_dir, entry->d_name);
        cleanup(freep) char *blobs = str_format("%s/blobs", path ? path : "");

        if (path && str_has_prefix(entry->d_name, TRASH) && dir_remove(path))
            log_warning("cannot remove '%s'", path);
        if (blobs && (str_has_prefix(entry->d_name, "models--") ||
                      str_has_prefix(entry->d_name, "datasets--")))
            sweep_parts(blobs);
    }
    if (files)
        sweep_parts(files);
}
