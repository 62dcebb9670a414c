// SPDX-License-Identifier: Apache-2.0
/*
 * The folder of a Hugging Face cache: CACHE/models--ORG--NAME/{blobs,refs,snapshots} and
 * CACHE/.locks. Others write into it too, so nothing in it is trusted: links are followed only
 * inside their repository. Any thread.
 */
#pragma once

#include "daemon/data/hub/client.h"

enum hub_kind { HUB_MODEL, HUB_DATASET };

/* One repository in the cache; paths are owned. */
struct hub_repo {
    enum hub_kind kind;
    char id[HUB_ID_MAX]; /* "org/name" */
    char *dir;           /* CACHE/models--org--name */
    char *lock_dir;      /* CACHE/.locks/models--org--name */
    char *used;          /* the file whose time is that of the last use */
};

int hub_repo_init(struct hub_repo *repo, const struct hub_client *client, enum hub_kind kind,
                  const char *id, struct failure *failure);
void hub_repo_done(struct hub_repo *repo);

/* hub_id_valid() - may @id be org/name? */
bool hub_id_valid(const char *id);
/* hub_revision_valid() - may @revision be a branch, tag or commit? */
bool hub_revision_valid(const char *revision);
/* hub_commit_valid() - 40 hex digits? */
bool hub_commit_valid(const char *commit);
/* hub_path_valid() - is @path relative, printable, without "." and ".." as a part? */
bool hub_path_valid(const char *path);

/*
 * hub_repo_open() - the folder, O_PATH; the caller owns *ret_fd. Return: 0, -ENOENT, -errno.
 */
int hub_repo_open(const struct hub_repo *repo, int *ret_fd);

/* hub_repo_commit() - what @revision stands for in the cache. Return: 0, -ENOENT, -errno. */
int hub_repo_commit(const struct hub_repo *repo, const char *revision,
                    char ret_commit[HUB_COMMIT_SIZE]);

/*
 * hub_repo_has() - is @name in the snapshot @commit a regular file? Return: 0; -ENOENT; -EXDEV: a
 * link that leads out of the repository, with the failure; -errno.
 */
int hub_repo_has(const struct hub_repo *repo, const char *commit, const char *name,
                 struct failure *failure);

/* hub_repo_path() - the path of @name in the snapshot, of the snapshot for NULL; owned. */
char *hub_repo_path(const struct hub_repo *repo, const char *commit, const char *name);

/*
 * hub_repo_complete() - are config, tokenizer and all weights of the model's snapshot there?
 * Return: 0; -ENOENT: not all, *ret_missing (if not NULL) names one; -errno with the failure.
 */
int hub_repo_complete(const struct hub_repo *repo, const char *commit, char *ret_missing,
                      size_t size, struct failure *failure);

/*
 * hub_repo_shards() - names of the weights' files as the index in the snapshot gives them, each
 * once; the single file without an index. *ret_names is an array of strings, owned by the caller.
 * Return: 0; -EBADMSG (hub_invalid) for a damaged index; -errno.
 */
int hub_repo_shards(const struct hub_repo *repo, const char *commit, json_t **ret_names,
                    struct failure *failure);

/* hub_repo_prepare() - make the folders that a pull of @commit writes into. */
int hub_repo_prepare(const struct hub_repo *repo, const char *commit, struct failure *failure);

/* hub_repo_link() - put the blob @etag into the snapshot as @name. */
int hub_repo_link(const struct hub_repo *repo, const char *commit, const char *name,
                  const char *etag, struct failure *failure);

/* hub_repo_set_ref() - from now on @revision stands for @commit. */
int hub_repo_set_ref(const struct hub_repo *repo, const char *revision, const char *commit,
                     struct failure *failure);

/* hub_make_room() - check that @bytes more fit, and make room in the cache for them. */
int hub_make_room(struct hub_client *client, uint64_t bytes, struct failure *failure);
