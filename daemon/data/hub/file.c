// SPDX-License-Identifier: Apache-2.0
/* Pulling and finding files of the catalog: from a data set of the hub, or from anywhere. */
#include "base/file.h"
#include "base/str.h"
#include "daemon/data/hub/download.h"
#include "daemon/data/hub/parts.h"
#include "daemon/data/hub/resolve.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define HUB_HOST "huggingface.co"

/* Where a file of the catalog is: in a data set of the hub, or at a plain address. */
struct place {
    enum catalog_id id;
    bool in_repo;
    char *repo_id, *revision, *name; /* in_repo */
    char *url, *path;                /* else: from there to here */
    char *lock;
};

static void place_done(struct place *place) {
    free(place->repo_id);
    free(place->revision);
    free(place->name);
    free(place->url);
    free(place->path);
    free(place->lock);
}

/* "datasets/ORG/NAME/resolve/REVISION/FILE" in its parts. */
static int split(struct place *place, const char *path) {
    char org[100], name[100], revision[100];
    int n = 0;

    if (sscanf(path, "datasets/%99[^/]/%99[^/]/resolve/%99[^/]/%n", org, name, revision, &n) != 3 ||
        !n)
        return -EINVAL;
    place->repo_id = str_format("%s/%s", org, name);
    place->revision = strdup(revision);
    place->name = strdup(path + n);
    return place->repo_id && place->revision && place->name ? 0 : -ENOMEM;
}

static int find_place(const struct hub_client *client, const char *host, const char *path,
                      struct place *place, struct failure *failure) {
    const char *other;
    char digest[SHA256_TEXT_SIZE];

    if (catalog_find(host, path, &place->id))
        return failure_set(failure, -ENOENT, "dataset_not_found", NULL,
                           "no data set has the file '%s' of %s", path, host);
    other = client->sources[place->id];
    place->in_repo = !other && str_equal(host, HUB_HOST);
    if (place->in_repo)
        return split(place, path) ? failure_oom(failure) : 0;
    place->url = other ? strdup(other) : str_format("https://%s/%s", host, path);
    if (!place->url || sha256_of(place->url, strlen(place->url), digest))
        return failure_oom(failure);
    /* Another address may have another file. */
    place->path = str_format("%s/files/%s-%.16s", client->own_dir, catalog[place->id].name, digest);
    place->lock = place->path ? str_format("%s.lock", place->path) : NULL;
    return place->lock ? 0 : failure_oom(failure);
}

static int not_here(const struct place *place, bool offline, struct failure *failure) {
    return failure_set(failure, -ENOENT, offline ? "hub_offline" : "dataset_not_found",
                       offline ? "switch hub-offline off, or give quantd a --mirror with the file"
                               : "submit the job again: the file is fetched before a job starts",
                       "'%s' is neither in a mirror nor in the cache", catalog[place->id].path);
}

static int find_in_repo(struct hub_client *client, const struct place *place, char **ret_path,
                        struct failure *failure) {
    cleanup(hub_repo_done) struct hub_repo repo = {};
    char commit[HUB_COMMIT_SIZE];
    int r = hub_repo_init(&repo, client, HUB_DATASET, place->repo_id, failure);

    if (r)
        return r;
    r = hub_repo_commit(&repo, place->revision, commit);
    if (!r)
        r = hub_repo_has(&repo, commit, place->name, failure);
    if (r == -ENOENT)
        return not_here(place, false, failure);
    if (r)
        return r == -EXDEV || r == -ELOOP
                   ? r
                   : failure_errno(failure, r, "cannot read the cache of", place->repo_id);
    *ret_path = hub_repo_path(&repo, commit, place->name);
    return *ret_path ? 0 : failure_oom(failure);
}

static int find(struct hub_client *client, const struct place *place, char **ret_path,
                struct failure *failure) {
    struct stat st;

    if (place->in_repo)
        return find_in_repo(client, place, ret_path, failure);
    if (lstat(place->path, &st) || !S_ISREG(st.st_mode))
        return not_here(place, false, failure);
    *ret_path = strdup(place->path);
    return *ret_path ? 0 : failure_oom(failure);
}

int hub_find_file(struct hub_client *client, const char *host, const char *path, char **ret_path,
                  struct failure *failure) {
    cleanup(place_done) struct place place = {};
    int r = find_place(client, host, path, &place, failure);

    return r ? r : find(client, &place, ret_path, failure);
}

static bool is_cancelled(void *ctx) {
    const struct hub_observer *observer = ctx;

    return observer->cancelled(observer->ctx);
}

static int make_room(struct hub_pull *pull, const char *path, uint64_t size,
                     struct failure *failure) {
    uint64_t have = access(path, F_OK) ? hub_parts_reserved(path) : size;

    pull->bytes_total += size;
    return hub_make_room(pull->client, size > have ? size - have : 0, failure);
}

static int pull_from_repo(struct hub_pull *pull, struct hub_http *http, const struct place *place,
                          struct failure *failure) {
    struct hub_client *client = pull->client;
    cleanup(hub_repo_done) struct hub_repo repo = {};
    cleanup(freep) char *url =
        hub_file_url(client, HUB_DATASET, place->repo_id, place->revision, place->name);
    cleanup(freep) char *path = NULL;
    cleanup(freep) char *lock = NULL;
    struct hub_file file;
    struct hub_download d = {.name = place->name};
    int r = url ? hub_repo_init(&repo, client, HUB_DATASET, place->repo_id, failure)
                : failure_oom(failure);

    if (!r)
        r = hub_resolve_file(http, url, place->name, catalog[place->id].max, true, &file, failure);
    if (r)
        return r;
    if (!file.commit[0])
        return failure_set(failure, -EPROTO, "hub_invalid", "is hub-endpoint the address of a hub?",
                           "cannot fetch '%.256s': the server does not send its commit", url);
    /* From now on that commit: the branch may move meanwhile. */
    free(url);
    url = hub_file_url(client, HUB_DATASET, place->repo_id, file.commit, place->name);
    path = str_format("%s/blobs/%s", repo.dir, file.etag);
    lock = str_format("%s/%s.lock", repo.lock_dir, file.etag);
    if (!url || !path || !lock)
        return failure_oom(failure);
    d.url = url;
    d.path = path;
    d.lock = lock;
    d.size = file.size;
    d.git = strlen(file.etag) == 40;
    d.kind = d.git ? DIGEST_SHA1 : DIGEST_SHA256;
    d.digest = file.etag;
    r = hub_repo_prepare(&repo, file.commit, failure);
    if (!r)
        r = make_room(pull, path, file.size, failure);
    if (!r)
        r = hub_download(pull, &d, failure);
    if (!r)
        r = hub_repo_link(&repo, file.commit, place->name, file.etag, failure);
    return r ? r : hub_repo_set_ref(&repo, place->revision, file.commit, failure);
}

static int pull_plain(struct hub_pull *pull, struct hub_http *http, const struct place *place,
                      struct failure *failure) {
    const struct catalog_file *known = &catalog[place->id];
    struct hub_download d = {.url = place->url,
                             .name = known->name,
                             .path = place->path,
                             .lock = place->lock,
                             .kind = DIGEST_MD5,
                             .digest = known->md5};
    struct hub_file file;
    int r = hub_resolve_file(http, place->url, known->name, known->max, false, &file, failure);

    if (r)
        return r;
    d.size = file.size;
    r = make_room(pull, place->path, file.size, failure);
    return r ? r : hub_download(pull, &d, failure);
}

int hub_pull_file(struct hub_client *client, const char *host, const char *path,
                  const struct hub_observer *observer, char **ret_path, struct failure *failure) {
    cleanup(hub_http_freep) struct hub_http *http = NULL;
    cleanup(place_done) struct place place = {};
    struct hub_pull pull = {.client = client, .observer = observer};
    int r = find_place(client, host, path, &place, failure);

    if (r)
        return r;
    r = find(client, &place, ret_path, failure);
    if (r != -ENOENT)
        return r;
    if (client->offline)
        return not_here(&place, true, failure);
    r = hub_http_new(&client->site, is_cancelled, (void *)observer, &http, failure);
    if (!r)
        r = place.in_repo ? pull_from_repo(&pull, http, &place, failure)
                          : pull_plain(&pull, http, &place, failure);
    return r ? r : find(client, &place, ret_path, failure);
}
