// SPDX-License-Identifier: Apache-2.0
/* What the hub says of a repository and of its files. */
#pragma once

#include "daemon/data/hub/cache.h"
#include "daemon/data/hub/http.h"

/* A file as the hub describes it. */
struct hub_file {
    const char *name;             /* of the file; borrowed */
    char commit[HUB_COMMIT_SIZE]; /* "" when the server has none */
    char etag[DIGEST_TEXT_SIZE];  /* hex: SHA-256 of the bytes, or SHA-1 as git has it; or "" */
    uint64_t size;
};

/*
 * hub_resolve_revision() - the commit that @revision of the model is, and the names of its files,
 * an object {name: true} owned by the caller.
 */
int hub_resolve_revision(struct hub_client *client, struct hub_http *http, const char *id,
                         const char *revision, char ret_commit[HUB_COMMIT_SIZE], json_t **ret_names,
                         struct failure *failure);

/* hub_read_revision() - the same from what the hub has said, @info. */
int hub_read_revision(const json_t *info, const char *id, const char *revision,
                      char ret_commit[HUB_COMMIT_SIZE], json_t **ret_names,
                      struct failure *failure);

/* hub_file_url() - where @name at @revision of a repository is; NULL: no memory. */
char *hub_file_url(const struct hub_client *client, enum hub_kind kind, const char *id,
                   const char *revision, const char *name);

/*
 * hub_resolve_file() - size and hash of the file at @url, at most @max bytes. @hashed: the server
 * must tell the hash.
 */
int hub_resolve_file(struct hub_http *http, const char *url, const char *name, uint64_t max,
                     bool hashed, struct hub_file *ret_file, struct failure *failure);
