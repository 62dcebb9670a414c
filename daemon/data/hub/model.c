// SPDX-License-Identifier: Apache-2.0
/* Pulling and finding models. */
#include "base/macros.h"
#include "base/str.h"
#include "daemon/data/companions.h"
#include "daemon/data/hub/download.h"
#include "daemon/data/hub/parts.h"
#include "daemon/data/hub/resolve.h"

#include <errno.h>
#include <string.h>

#define INDEX "model.safetensors.index.json"
#define SHARD_MAX ((uint64_t)50 << 30) /* the hub itself serves no larger file plainly */

/* One pull of a model, by the thread that calls. */
struct model_pull {
    struct hub_pull *pull;
    struct hub_http *http;
    struct hub_repo *repo;
    const char *commit;
    json_t *names; /* at the hub */
};

static bool is_cancelled(void *ctx) {
    const struct hub_observer *observer = ctx;

    return observer->cancelled(observer->ctx);
}

int hub_find_model(struct hub_client *client, const struct hub_name *name, char **ret_dir,
                   char ret_commit[HUB_COMMIT_SIZE], struct failure *failure) {
    cleanup(hub_repo_done) struct hub_repo repo = {};
    char commit[HUB_COMMIT_SIZE], missing[160];
    char *dir;
    int r = hub_repo_init(&repo, client, HUB_MODEL, name->id, failure);

    if (r)
        return r;
    r = hub_repo_commit(&repo, name->revision, commit);
    if (r == -ENOENT)
        return failure_set(failure, -ENOENT, "model_not_found", NULL,
                           "'%s' at '%s' is not in the cache", name->id, name->revision);
    if (!r)
        r = hub_repo_complete(&repo, commit, missing, sizeof(missing), failure);
    if (r == -ENOENT)
        return failure_set(failure, -ENOENT, "model_not_found", NULL,
                           "'%s' at '%s' is not complete in the cache: '%s' is missing", name->id,
                           name->revision, missing);
    if (r && r != -EXDEV && r != -ELOOP && r != -EBADMSG)
        return failure_errno(failure, r, "cannot read the cache of", name->id);
    if (r)
        return r;
    dir = hub_repo_path(&repo, commit, NULL);
    if (!dir)
        return failure_oom(failure);
    memcpy(ret_commit, commit, sizeof(commit));
    *ret_dir = dir;
    return 0;
}

static char *blob_path(const struct model_pull *m, const struct hub_file *file) {
    return str_format("%s/blobs/%s", m->repo->dir, file->etag);
}

static int pull_blob(struct model_pull *m, const struct hub_file *file, struct failure *failure) {
    cleanup(freep) char *url =
        hub_file_url(m->pull->client, m->repo->kind, m->repo->id, m->commit, file->name);
    cleanup(freep) char *path = blob_path(m, file);
    cleanup(freep) char *lock = str_format("%s/%s.lock", m->repo->lock_dir, file->etag);
    bool git = strlen(file->etag) == 40;
    struct hub_download download = {.url = url,
                                    .name = file->name,
                                    .path = path,
                                    .lock = lock,
                                    .size = file->size,
                                    .kind = git ? DIGEST_SHA1 : DIGEST_SHA256,
                                    .git = git,
                                    .digest = file->etag};
    int r;

    if (!url || !path || !lock)
        return failure_oom(failure);
    r = hub_download(m->pull, &download, failure);
    return r ? r : hub_repo_link(m->repo, m->commit, file->name, file->etag, failure);
}

/* Bytes of @file that the disk does not hold yet. */
static uint64_t still_needed(const struct model_pull *m, const struct hub_file *file) {
    cleanup(freep) char *path = blob_path(m, file);
    uint64_t have = path ? hub_parts_reserved(path) : 0;

    if (path && !access(path, F_OK))
        return 0;
    return file->size > have ? file->size - have : 0;
}

/* All of @names, an array: sizes first, so that no room is missing in the middle. */
static int pull_files(struct model_pull *m, const json_t *names, uint64_t max,
                      struct failure *failure) {
    size_t n = json_array_size(names);
    cleanup(freep) struct hub_file *files = calloc(n + 1, sizeof(*files));
    uint64_t needed = 0;
    int r = files ? 0 : failure_oom(failure);

    for (size_t i = 0; i < n && !r; i++) {
        const char *name = json_string_value(json_array_get(names, i));
        cleanup(freep) char *url =
            hub_file_url(m->pull->client, m->repo->kind, m->repo->id, m->commit, name);

        r = url ? hub_resolve_file(m->http, url, name, max, true, &files[i], failure)
                : failure_oom(failure);
        if (r)
            return r;
        needed += still_needed(m, &files[i]);
        m->pull->bytes_total += files[i].size;
    }
    m->pull->more = m->pull->more && max == HUB_JSON_MAX;
    if (!r)
        r = hub_make_room(m->pull->client, needed, failure);
    for (size_t i = 0; i < n && !r; i++)
        r = pull_blob(m, &files[i], failure);
    return r;
}

static int pull_companions(struct model_pull *m, struct failure *failure) {
    cleanup(json_decrefp) json_t *names = json_array();

    if (!names)
        return failure_oom(failure);
    for (int i = 0; i < n_companions; i++) {
        const char *name = companions[i].name;

        if (!json_object_get(m->names, name) && companions[i].needed)
            return failure_set(failure, -ENOENT, "model_invalid",
                               "quantd reads models with config.json, tokenizer.json and "
                               "safetensors",
                               "model '%s' has no '%s' at the hub", m->repo->id, name);
        if (json_object_get(m->names, name) && json_array_append_new(names, json_string(name)))
            return failure_oom(failure);
    }
    return pull_files(m, names, HUB_JSON_MAX, failure);
}

static int pull_weights(struct model_pull *m, struct failure *failure) {
    cleanup(json_decrefp) json_t *shards = NULL;
    json_t *shard;
    size_t i;
    int r = hub_repo_shards(m->repo, m->commit, &shards, failure);

    if (r)
        return r;
    json_array_foreach(shards, i, shard) {
        if (!json_object_get(m->names, json_string_value(shard)))
            return failure_set(failure, -ENOENT, "model_invalid",
                               ".bin and .pt files are not read: they can run code. Look for a "
                               "revision with safetensors",
                               "model '%s' has no '%s' at the hub", m->repo->id,
                               json_string_value(shard));
    }
    return pull_files(m, shards, SHARD_MAX, failure);
}

static int pull_snapshot(struct hub_pull *pull, struct hub_repo *repo, const char *revision,
                         struct failure *failure) {
    cleanup(hub_http_freep) struct hub_http *http = NULL;
    cleanup(json_decrefp) json_t *names = NULL;
    char commit[HUB_COMMIT_SIZE];
    struct model_pull m = {.pull = pull, .repo = repo, .commit = commit};
    int r = hub_http_new(&pull->client->site, is_cancelled, (void *)pull->observer, &http, failure);

    if (!r)
        r = hub_resolve_revision(pull->client, http, repo->id, revision, commit, &names, failure);
    if (!r)
        r = hub_repo_prepare(repo, commit, failure);
    m.http = http;
    m.names = names;
    pull->more = true; /* the index lists the weights */
    if (!r)
        r = pull_companions(&m, failure);
    if (!r)
        r = pull_weights(&m, failure);
    return r ? r : hub_repo_set_ref(repo, revision, commit, failure);
}

int hub_pull_model(struct hub_client *client, const struct hub_name *name,
                   const struct hub_observer *observer, char **ret_dir,
                   char ret_commit[HUB_COMMIT_SIZE], struct failure *failure) {
    cleanup(hub_repo_done) struct hub_repo repo = {};
    struct hub_pull pull = {.client = client, .observer = observer};
    int r = hub_find_model(client, name, ret_dir, ret_commit, failure);

    if (r != -ENOENT)
        return r;
    if (client->offline) {
        snprintf(failure->code, sizeof(failure->code), "hub_offline");
        snprintf(failure->hint, sizeof(failure->hint),
                 "switch hub-offline off, or bring the model into the cache");
        return -ENOENT;
    }
    r = hub_repo_init(&repo, client, HUB_MODEL, name->id, failure);
    if (!r)
        r = pull_snapshot(&pull, &repo, name->revision, failure);
    if (r)
        return r;
    hub_note_use(client, name->id);
    return hub_find_model(client, name, ret_dir, ret_commit, failure);
}
