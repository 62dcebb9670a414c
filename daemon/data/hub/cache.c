// SPDX-License-Identifier: Apache-2.0
#include "daemon/data/hub/cache.h"

#include "base/file.h"
#include "base/json.h"
#include "base/macros.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define PART_MAX 96 /* characters of an organization or of a name, as the hub has it */
#define PATH_MAX_BYTES 1024
#define INDEX "model.safetensors.index.json"
#define SINGLE "model.safetensors"
#define SHARDS_MAX 4096
#define INDEX_MAX ((size_t)64 << 20) /* bytes */

/* -------- names -------- */

static bool id_part_valid(const char *part, size_t size) {
    char copy[PART_MAX + 1];

    if (size == 0 || size > PART_MAX)
        return false;
    memcpy(copy, part, size);
    copy[size] = '\0';
    /* "--" is the folder's separator. */
    return str_is_safe_name(copy) && !strstr(copy, "--") && !strstr(copy, "..") && copy[0] != '-';
}

bool hub_id_valid(const char *id) {
    const char *slash = strchr(id, '/');

    return strlen(id) < HUB_ID_MAX && slash && id_part_valid(id, (size_t)(slash - id)) &&
           id_part_valid(slash + 1, strlen(slash + 1));
}

bool hub_path_valid(const char *path) {
    if (!path[0] || strlen(path) > PATH_MAX_BYTES ||
        str_utf8_length(path, strlen(path)) != strlen(path))
        return false;
    for (const char *at = path; *at; at++)
        if ((unsigned char)*at < ' ' || *at == '\\' || *at == 0x7f)
            return false;
    for (const char *at = path;; at++) {
        size_t n = strcspn(at, "/");

        if (n == 0 || (n == 1 && at[0] == '.') || (n == 2 && at[0] == '.' && at[1] == '.'))
            return false;
        at += n;
        if (!*at)
            return true;
    }
}

bool hub_revision_valid(const char *revision) {
    size_t n = strspn(revision, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                "._/-");

    return n > 0 && n <= 128 && !revision[n] && hub_path_valid(revision) && revision[0] != '.' &&
           revision[0] != '-' && !strstr(revision, "..") && !strstr(revision, "/.");
}

bool hub_commit_valid(const char *commit) {
    return strspn(commit, "0123456789abcdef") == HUB_COMMIT_SIZE - 1 &&
           !commit[HUB_COMMIT_SIZE - 1];
}

int hub_parse_name(const char *text, struct hub_name *ret_name) {
    const char *at = strchr(text, '@');
    size_t size = at ? (size_t)(at - text) : strlen(text);
    struct hub_name name = {.revision = "main"};

    if (size >= sizeof(name.id) || (at && strlen(at + 1) >= sizeof(name.revision)))
        return -EINVAL;
    memcpy(name.id, text, size);
    if (at)
        snprintf(name.revision, sizeof(name.revision), "%s", at + 1);
    if (!hub_id_valid(name.id) || !hub_revision_valid(name.revision))
        return -EINVAL;
    *ret_name = name;
    return 0;
}

/* -------- where things are -------- */

void hub_repo_done(struct hub_repo *repo) {
    free(repo->dir);
    free(repo->lock_dir);
    free(repo->used);
}

int hub_repo_init(struct hub_repo *repo, const struct hub_client *client, enum hub_kind kind,
                  const char *id, struct failure *failure) {
    const char *prefix = kind == HUB_MODEL ? "models" : "datasets";
    const char *slash = strchr(id, '/');
    int n = (int)(slash - id); /* the caller has checked the id */

    *repo = (struct hub_repo){.kind = kind};
    snprintf(repo->id, sizeof(repo->id), "%s", id);
    repo->dir = str_format("%s/%s--%.*s--%s", client->cache_dir, prefix, n, id, slash + 1);
    repo->lock_dir =
        str_format("%s/.locks/%s--%.*s--%s", client->cache_dir, prefix, n, id, slash + 1);
    repo->used = str_format("%s/used/%s--%.*s--%s", client->own_dir, prefix, n, id, slash + 1);
    return repo->dir && repo->lock_dir && repo->used ? 0 : failure_oom(failure);
}

char *hub_repo_path(const struct hub_repo *repo, const char *commit, const char *name) {
    return str_format("%s/snapshots/%s%s%s", repo->dir, commit, name ? "/" : "", name ? name : "");
}

char *hub_model_root(const char *dir) {
    const char *end = dir + strlen(dir);

    for (int n = 0; end > dir && n < 2;) /* snapshots/COMMIT */
        n += *--end == '/';
    return strndup(dir, (size_t)(end - dir));
}

int hub_repo_open(const struct hub_repo *repo, int *ret_fd) {
    int fd = open(repo->dir, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return errno == ENOTDIR ? -ENOENT : -errno;
    *ret_fd = fd;
    return 0;
}

/* -------- reading -------- */

int hub_repo_commit(const struct hub_repo *repo, const char *revision,
                    char ret_commit[HUB_COMMIT_SIZE]) {
    cleanup(freep) char *path = str_format("refs/%s", revision);
    cleanup(closep) int dir = -1;
    cleanup(closep) int fd = -1;
    char text[HUB_COMMIT_SIZE + 8] = "";
    ssize_t n;
    int r;

    if (hub_commit_valid(revision)) {
        snprintf(ret_commit, HUB_COMMIT_SIZE, "%s", revision);
        return 0;
    }
    if (!path)
        return -ENOMEM;
    r = hub_repo_open(repo, &dir);
    if (r)
        return r;
    fd = file_open_beneath(dir, path, O_RDONLY | O_NONBLOCK, false);
    if (fd < 0)
        return fd == -ENOTDIR || fd == -ELOOP ? -ENOENT : fd;
    n = read(fd, text, sizeof(text) - 1);
    if (n < 0)
        return errno == EISDIR ? -ENOENT : -errno;
    text[strcspn(text, "\r\n ")] = '\0';
    if (!hub_commit_valid(text))
        return -ENOENT;
    snprintf(ret_commit, HUB_COMMIT_SIZE, "%s", text);
    return 0;
}

int hub_repo_has(const struct hub_repo *repo, const char *commit, const char *name,
                 struct failure *failure) {
    cleanup(freep) char *path = str_format("snapshots/%s/%s", commit, name);
    cleanup(closep) int dir = -1;
    cleanup(closep) int fd = -1;
    struct stat st;
    int r;

    if (!path)
        return failure_oom(failure);
    r = hub_repo_open(repo, &dir);
    if (r)
        return r;
    fd = file_open_beneath(dir, path, O_PATH, true);
    if (fd == -EXDEV || fd == -ELOOP)
        return failure_set(failure, fd, "hub_invalid",
                           "remove the model from the cache, so that it is fetched again",
                           "cannot use '%s' of '%s' in the cache: a link leads out of it", name,
                           repo->id);
    if (fd < 0)
        return fd == -ENOTDIR ? -ENOENT : fd;
    if (fstat(fd, &st))
        return -errno;
    return S_ISREG(st.st_mode) ? 0 : -ENOENT;
}

/* The files that @index names, each once. */
static int names_of(const json_t *index, const char *id, json_t **ret_names,
                    struct failure *failure) {
    cleanup(json_decrefp) json_t *seen = json_object();
    cleanup(json_decrefp) json_t *names = json_array();
    json_t *map = json_object_get(index, "weight_map"), *value;
    const char *tensor;

    if (!seen || !names)
        return failure_oom(failure);
    if (!json_object_size(map))
        return failure_set(failure, -EBADMSG, "hub_invalid", NULL,
                           "cannot use the index of '%s': it has no weight_map", id);
    json_object_foreach(map, tensor, value) {
        const char *name = json_string_value(value);
        size_t n = name ? strlen(name) : 0;

        if (n < 12 || !str_is_safe_name(name) || strcmp(name + n - 12, ".safetensors"))
            return failure_set(failure, -EBADMSG, "hub_invalid", NULL,
                               "cannot use the index of '%s': '%.128s' is no name of a "
                               "safetensors file",
                               id, name ? name : "");
        if (json_object_get(seen, name))
            continue;
        if (json_object_set_new(seen, name, json_true()) || json_array_append(names, value))
            return failure_oom(failure);
        if (json_array_size(names) > SHARDS_MAX)
            return failure_set(failure, -EBADMSG, "hub_invalid", NULL,
                               "cannot use the index of '%s': more than %d files", id, SHARDS_MAX);
    }
    *ret_names = steal_ptr(names);
    return 0;
}

int hub_repo_shards(const struct hub_repo *repo, const char *commit, json_t **ret_names,
                    struct failure *failure) {
    cleanup(freep) char *path = hub_repo_path(repo, commit, INDEX);
    cleanup(json_decrefp) json_t *index = NULL;
    int r = path ? hub_repo_has(repo, commit, INDEX, failure) : -ENOMEM;

    if (r == -ENOENT) {
        *ret_names = json_pack("[s]", SINGLE);
        return *ret_names ? 0 : failure_oom(failure);
    }
    if (r)
        return r;
    r = json_parse_file(path, INDEX_MAX, "hub_invalid", &index, failure);
    return r ? r : names_of(index, repo->id, ret_names, failure);
}

int hub_repo_complete(const struct hub_repo *repo, const char *commit, char *ret_missing,
                      size_t size, struct failure *failure) {
    static const char *const needed[] = {"config.json", "tokenizer.json"};
    cleanup(json_decrefp) json_t *shards = NULL;
    const char *name = "";
    json_t *shard;
    size_t i;
    int r = 0;

    for (i = 0; i < ARRAY_SIZE(needed) && !r; i++)
        r = hub_repo_has(repo, commit, name = needed[i], failure);
    if (!r)
        r = hub_repo_shards(repo, commit, &shards, failure);
    if (r == -EBADMSG) /* an index that is damaged here may be whole at the hub */
        r = -ENOENT;
    json_array_foreach(shards, i, shard) {
        if (!r)
            r = hub_repo_has(repo, commit, name = json_string_value(shard), failure);
    }
    if (r == -ENOENT && ret_missing)
        snprintf(ret_missing, size, "%s", name);
    return r;
}

/* -------- writing -------- */

/* A folder, and no link to one. */
static int make_folder(const char *path, struct failure *failure) {
    struct stat st;
    int r = dir_make(path);

    if (!r && lstat(path, &st))
        r = -errno;
    if (!r && !S_ISDIR(st.st_mode))
        r = -ENOTDIR;
    return r ? failure_errno(failure, r, "cannot make the folder", path) : 0;
}

int hub_repo_prepare(const struct hub_repo *repo, const char *commit, struct failure *failure) {
    cleanup(freep) char *blobs = str_format("%s/blobs", repo->dir);
    cleanup(freep) char *refs = str_format("%s/refs", repo->dir);
    cleanup(freep) char *snapshot = hub_repo_path(repo, commit, NULL);
    const char *folders[] = {repo->dir, blobs, refs, snapshot, repo->lock_dir};
    int r = 0;

    if (!blobs || !refs || !snapshot)
        return failure_oom(failure);
    for (size_t i = 0; i < ARRAY_SIZE(folders) && !r; i++)
        r = make_folder(folders[i], failure);
    return r;
}

int hub_repo_link(const struct hub_repo *repo, const char *commit, const char *name,
                  const char *etag, struct failure *failure) {
    cleanup(freep) char *path = hub_repo_path(repo, commit, name);
    cleanup(freep) char *parent = NULL;
    cleanup(freep) char *temporary = NULL;
    struct strbuf target = {};
    int r = 0;

    if (!path || !(parent = strdup(path)))
        return failure_oom(failure);
    *strrchr(parent, '/') = '\0';
    temporary = str_format("%s.quantd-%d", path, (int)getpid());
    strbuf_puts(&target, "../../");
    for (const char *at = name; *at; at++)
        if (*at == '/')
            strbuf_puts(&target, "../");
    strbuf_printf(&target, "blobs/%s", etag);
    if (!temporary || target.failed) {
        strbuf_done(&target);
        return failure_oom(failure);
    }
    r = dir_make(parent);
    if (!r) {
        unlink(temporary);
        if (symlink(target.data, temporary) || rename(temporary, path))
            r = -errno;
    }
    strbuf_done(&target);
    return r ? failure_errno(failure, r, "cannot make the link", path) : 0;
}

int hub_repo_set_ref(const struct hub_repo *repo, const char *revision, const char *commit,
                     struct failure *failure) {
    cleanup(freep) char *path = str_format("%s/refs/%s", repo->dir, revision);
    cleanup(freep) char *parent = path ? strdup(path) : NULL;
    char now[HUB_COMMIT_SIZE];
    int r;

    if (!parent)
        return failure_oom(failure);
    if (hub_commit_valid(revision))
        return 0;
    *strrchr(parent, '/') = '\0';
    r = dir_make(parent);
    if (!r)
        r = file_replace(path, commit, strlen(commit));
    /* Another process that writes the same may have come first. */
    if (r && !hub_repo_commit(repo, revision, now) && str_equal(now, commit))
        return 0;
    return r ? failure_errno(failure, r, "cannot write", path) : 0;
}
