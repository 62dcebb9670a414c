// SPDX-License-Identifier: Apache-2.0
/*
 * The SHA-256 of files that were hashed before, by their identity: a file of JSON, newest entry
 * first. It may be lost or damaged at any time, which costs no more than hashing again.
 */
#pragma once

#include "base/hash.h"
#include "base/json.h"
#include "daemon/model/fingerprint/identity.h"

struct hash_cache {
    char *path;      /* owned; NULL: nothing is kept */
    json_t *entries; /* [{device, inode, size, mtime_ns, ctime_ns, sha256}]; owned */
    bool changed;
};

/* hash_cache_open() - read the cache at @path, NULL: none. Return: 0 or -ENOMEM. */
int hash_cache_open(const char *path, struct hash_cache *ret_cache);
/* hash_cache_find() - the hash of the file with @identity. Return: false: not known. */
bool hash_cache_find(const struct hash_cache *cache, const struct identity *identity,
                     char ret_sha256[SHA256_TEXT_SIZE]);
/* hash_cache_put() - remember it, unless the identity is too young to be relied on. */
void hash_cache_put(struct hash_cache *cache, const struct identity *identity, const char *sha256);
/* hash_cache_close() - write what is new; zeroed is fine. */
void hash_cache_close(struct hash_cache *cache);
