// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/fingerprint/hash_cache.h"

#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <string.h>

#define CACHE_BYTES_MAX (4 << 20)
#define CACHE_ENTRIES_MAX 4096

int hash_cache_open(const char *path, struct hash_cache *ret_cache) {
    struct hash_cache cache = {};

    if (path) {
        cache.path = strdup(path);
        if (!cache.path)
            return -ENOMEM;
        json_parse_file(path, CACHE_BYTES_MAX, "damaged", &cache.entries, NULL);
    }
    if (!json_is_array(cache.entries)) {
        json_decref(cache.entries);
        cache.entries = json_array();
    }
    if (!cache.entries) {
        free(cache.path);
        return -ENOMEM;
    }
    *ret_cache = cache;
    return 0;
}

static bool number_is(const json_t *entry, const char *key, uint64_t value) {
    const json_t *number = json_object_get(entry, key);

    return json_is_integer(number) && (uint64_t)json_integer_value(number) == value;
}

static bool is_entry_of(const json_t *entry, const struct identity *identity) {
    return number_is(entry, "inode", identity->inode) &&
           number_is(entry, "device", identity->device) &&
           number_is(entry, "size", identity->size) &&
           number_is(entry, "mtime_ns", (uint64_t)identity->mtime_ns) &&
           number_is(entry, "ctime_ns", (uint64_t)identity->ctime_ns);
}

bool hash_cache_find(const struct hash_cache *cache, const struct identity *identity,
                     char ret_sha256[SHA256_TEXT_SIZE]) {
    json_t *entry;
    size_t i;

    json_array_foreach(cache->entries, i, entry) {
        const char *sha256 = json_string_value(json_object_get(entry, "sha256"));

        if (sha256 && strlen(sha256) == SHA256_TEXT_SIZE - 1 && is_entry_of(entry, identity)) {
            memcpy(ret_sha256, sha256, SHA256_TEXT_SIZE);
            return true;
        }
    }
    return false;
}

void hash_cache_put(struct hash_cache *cache, const struct identity *identity, const char *sha256) {
    json_t *entry;

    if (!cache->path || !identity_is_settled(identity))
        return;
    entry = json_pack("{sI sI sI sI sI ss}", "device", (json_int_t)identity->device, "inode",
                      (json_int_t)identity->inode, "size", (json_int_t)identity->size, "mtime_ns",
                      (json_int_t)identity->mtime_ns, "ctime_ns", (json_int_t)identity->ctime_ns,
                      "sha256", sha256);
    if (!json_array_insert_new(cache->entries, 0, entry))
        cache->changed = true;
    while (json_array_size(cache->entries) > CACHE_ENTRIES_MAX)
        json_array_remove(cache->entries, CACHE_ENTRIES_MAX);
}

void hash_cache_close(struct hash_cache *cache) {
    cleanup(freep) char *text = cache->changed ? json_text(cache->entries, JSON_COMPACT) : NULL;

    if (text)
        file_replace(cache->path, text, strlen(text)); /* without it: hashed once more */
    json_decref(cache->entries);
    free(cache->path);
    *cache = (struct hash_cache){};
}
