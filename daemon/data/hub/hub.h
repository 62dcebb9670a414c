// SPDX-License-Identifier: Apache-2.0
/*
 * Models and data sets from a Hugging Face hub, and the folder that keeps them.
 *
 * This header is all that the daemon sees of the folder daemon/data/hub, besides source.h. The
 * folder knows base, daemon/data/catalog.h and daemon/data/source.h; no data set and no job.
 *
 * The folder has the layout of huggingface_hub (models--ORG--NAME/{blobs,refs,snapshots}, .locks),
 * so a cache that other programs have filled is used as it is, and ours serves them. What is in a
 * cache and what a hub answers is untrusted: names are checked, links must stay inside their
 * repository, files are published only after their hash was compared.
 *
 * Failures keep -errno and have codes: hub_unreachable, hub_busy, hub_forbidden, hub_invalid,
 * hub_offline, model_not_found, dataset_not_found, disk_full.
 */
#pragma once

#include "base/cleanup.h"
#include "base/failure.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HUB_ENDPOINT "https://huggingface.co"
#define HUB_ID_MAX 192     /* bytes of "org/name" */
#define HUB_COMMIT_SIZE 41 /* 40 hex digits and the NUL */

struct hub_client; /* any number of threads may use one, unless a function says otherwise */

/* Where from and where to; all strings are borrowed until hub_open() returns. */
struct hub_config {
    const char *endpoint;  /* https://..., or http:// on loopback; NULL: HUB_ENDPOINT */
    const char *token;     /* NULL: none; only the endpoint's host ever sees it */
    const char *cache_dir; /* of the Hugging Face layout; made when missing */
    const char *own_dir;   /* other files, and when each was used; made when missing */
    bool offline;          /* open no connection */
    char *const *sources;  /* NAME=URL: other addresses of files in daemon/data/catalog.h */
    int n_sources;
    uint64_t disk_floor;  /* bytes that a pull leaves free */
    uint64_t cache_limit; /* bytes of models to keep, the longest unused go; 0: all stay */
    double retry_seconds; /* first wait before another try, doubled each time; 0: 0.5 */
    int silence_seconds;  /* a connection without a byte for so long is cut; 0: 30 */
    uint64_t part_size;   /* bytes of a range; 0: 16 MiB */
    /* May the model @id ("org/name") not be removed? Called under hub_hold(). NULL: all may. */
    bool (*pinned)(void *ctx, const char *id);
    void *ctx;
};

/* hub_open() - check the configuration; no connection yet. The caller owns *ret_client. */
int hub_open(const struct hub_config *config, struct hub_client **ret_client,
             struct failure *failure);
void hub_close(struct hub_client *client); /* NULL is fine */
DEFINE_CLEANUP(struct hub_client *, hub_closep, hub_close)

/* hub_set_limits() - disk_floor and cache_limit of the next pulls. Any thread. */
void hub_set_limits(struct hub_client *client, uint64_t disk_floor, uint64_t cache_limit);

/* hub_cache_limit() - the cache_limit of now. Any thread. */
uint64_t hub_cache_limit(const struct hub_client *client);

/* hub_is_offline() - must no connection be opened? */
bool hub_is_offline(const struct hub_client *client);

/*
 * hub_is_cut_off() - is it known, without asking the hub, that it cannot be reached now: this
 * machine has no route out, and none to where the hub's name leads; or several requests of the last
 * minute had no answer? Waits for nothing.
 * @ret_why: why, in a few words; untouched when it may well be reached
 */
bool hub_is_cut_off(struct hub_client *client, char *ret_why, size_t size);

/*
 * hub_check_source() - is @source NAME=URL, NAME of a file in the catalog, and URL one that the
 * client would ask? Return: 0 or -EINVAL (config_invalid).
 */
int hub_check_source(const char *source, struct failure *failure);

/* hub_check_endpoint() - likewise for an endpoint. */
int hub_check_endpoint(const char *endpoint, struct failure *failure);

/* What a model of a hub is called. */
struct hub_name {
    char id[HUB_ID_MAX]; /* "org/name" */
    char revision[129];  /* a branch, a tag or a commit; "main" when none is named */
};

/* hub_parse_name() - @text as org/name[@revision]. Return: 0, or -EINVAL: it cannot be one. */
int hub_parse_name(const char *text, struct hub_name *ret_name);

struct hub_progress {
    const char *file;            /* borrowed */
    uint64_t bytes, bytes_total; /* of all files of this pull; total 0: not all are known yet */
    double rate;                 /* bytes a second, lately */
    bool checking;               /* the hash of what came is computed: no bytes are expected */
};

struct hub_observer {
    void *ctx;
    /* Some times a second, by the thread that pulls. */
    void (*progress)(void *ctx, const struct hub_progress *progress);
    /* True: the pull stops within a tenth of a second with -ECANCELED. */
    bool (*cancelled)(void *ctx);
};

/*
 * hub_find_model() - the folder of a model that is in the cache, whole. Opens no connection. The
 * caller owns *ret_dir. Return: 0; -ENOENT: not there, or not all of it; or -errno.
 */
int hub_find_model(struct hub_client *client, const struct hub_name *name, char **ret_dir,
                   char ret_commit[HUB_COMMIT_SIZE], struct failure *failure);

/*
 * hub_model_root() - the folder that no link in @dir, which hub_find_model() gave, may leave: that
 * of its repository. The caller owns it; NULL when out of memory.
 */
char *hub_model_root(const char *dir);

/*
 * hub_pull_model() - the same, after fetching what is missing: config, tokenizer, safetensors and
 * their index. A revision that is in the cache is not asked for again. Blocks as long as that
 * takes; what was fetched stays for the next try, also of another process.
 * Return: 0, -ECANCELED, or -errno with the failure.
 */
int hub_pull_model(struct hub_client *client, const struct hub_name *name,
                   const struct hub_observer *observer, char **ret_dir,
                   char ret_commit[HUB_COMMIT_SIZE], struct failure *failure);

/*
 * hub_find_file() - the local path of the file at https://@host/@path, which is one of the
 * catalog's. Opens no connection; owned by the caller. Return: 0, -ENOENT (dataset_not_found).
 */
int hub_find_file(struct hub_client *client, const char *host, const char *path, char **ret_path,
                  struct failure *failure);

/* hub_pull_file() - the same, after fetching it; otherwise as hub_pull_model(). */
int hub_pull_file(struct hub_client *client, const char *host, const char *path,
                  const struct hub_observer *observer, char **ret_path, struct failure *failure);

/* hub_hold() - until hub_release() by the same thread nothing is removed from the cache. */
void hub_hold(struct hub_client *client);
void hub_release(struct hub_client *client);

/* hub_note_use() - the model @id is used now. */
void hub_note_use(struct hub_client *client, const char *id);

/*
 * hub_list_models() - [{id, object, revisions: [{commit, refs, complete}], bytes, last_used_at,
 * pinned}], the largest first; owned by the caller. last_used_at is null for a model that only
 * others have used. Return: 0 or -errno.
 */
int hub_list_models(struct hub_client *client, json_t **ret_models, struct failure *failure);

/*
 * hub_remove_model() - delete model @id, with all its revisions and partial files.
 * Return: 0 and the bytes that came free; -ENOENT (model_not_found); -EBUSY (model_in_use).
 */
int hub_remove_model(struct hub_client *client, const char *id, uint64_t *ret_bytes,
                     struct failure *failure);

/*
 * hub_describe() - {endpoint, offline, answered_at, failed_at, error}: how the last requests to the
 * endpoint went, as far as this process has made any. Opens no connection. Owned by the caller;
 * NULL when out of memory.
 */
json_t *hub_describe(struct hub_client *client);

/* hub_sweep() - delete partial files without progress for a week, and old leftovers. */
void hub_sweep(struct hub_client *client);
