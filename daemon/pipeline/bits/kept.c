// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/bits/kept.h"

#include "base/cache/cache.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/macros.h"
#include "base/str.h"
#include "daemon/pipeline/formats/format.h"
#include "daemon/pipeline/plan.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define KEPT_FORMAT 1
#define KEPT_BYTES_MAX (64 << 20)

/*
 * All that the figures follow from: what the layers of the job follow from but for the target, and
 * what a solver does beside its method. NULL when out of memory.
 */
static json_t *key_of(const struct run *run) {
    static const char *const others[] = {"target_bits", "plan_bits", "plan_only",
                                         "wbits",       "drift",     "refine"};
    cleanup(plan_done) struct plan plan = {};
    json_t *params;

    if (plan_make(run, &plan))
        return NULL;
    params = json_object_get(plan.settings, "params");
    for (size_t i = 0; i < ARRAY_SIZE(others); i++)
        json_object_del(params, others[i]);
    /* Some formats want matrices alike that others do not. */
    return json_pack("{s:i s:s s:i s:s s:O}", "version", KEPT_FORMAT, "model", run->fingerprint,
                     "batch", run->batch, "format", run->params->format->name, "settings",
                     plan.settings);
}

/* May something be kept, or found? A model that is still being hashed is no reason to wait. */
static int is_possible(struct run *run, bool *ret_possible) {
    int r = cache_is_on(run->job->states) ? work_learn_fingerprint(run, false) : 0;

    *ret_possible = !r && cache_is_on(run->job->states) && run->fingerprint[0];
    return r;
}

/* ---- finding ---- */

/* The text in the file at @fd, in @ret_kept; -EBADMSG: it is not what it says. */
static int read_text(int fd, uint64_t size, const json_t *key, json_t **ret_kept) {
    cleanup(freep) char *text = size && size < KEPT_BYTES_MAX ? malloc(size) : NULL;
    cleanup(json_decrefp) json_t *kept = NULL;
    char hash[SHA256_TEXT_SIZE];
    const char *measured;
    int r;

    if (!text)
        return size && size < KEPT_BYTES_MAX ? -ENOMEM : -EBADMSG;
    if (pread(fd, text, size, 0) != (ssize_t)size)
        return -EBADMSG;
    r = json_parse(text, size, "the file", "damaged", &kept, NULL);
    measured = json_string_value(json_object_get(kept, "measured"));
    if (r || !measured || !json_equal(json_object_get(kept, "key"), key))
        return r == -ENOMEM ? r : -EBADMSG;
    r = sha256_of(measured, strlen(measured), hash);
    if (r || !str_equal(hash, json_string_value(json_object_get(kept, "sha256"))))
        return r ? r : -EBADMSG;
    *ret_kept = steal_ptr(kept);
    return 0;
}

int kept_find(struct run *run, const char *path) {
    cleanup(json_decrefp) json_t *key = NULL, *kept = NULL;
    cleanup(closep) int fd = -1;
    char name[CACHE_NAME_SIZE];
    const char *text;
    bool possible;
    uint64_t size;
    int r = is_possible(run, &possible);

    if (r || !possible)
        return r;
    key = key_of(run);
    if (json_sha256(key, name))
        return failure_oom(run->failure);
    fd = cache_find(run->job->states, name, &size);
    if (fd < 0)
        return 0;
    r = read_text(fd, size, key, &kept);
    if (r == -ENOMEM)
        return failure_oom(run->failure);
    if (r) {
        cache_drop(run->job->states, name);
        return 0;
    }
    text = json_string_value(json_object_get(kept, "measured"));
    r = file_replace(path, text, strlen(text));
    return r ? failure_errno(run->failure, r, "cannot write", path) : 0;
}

/* ---- keeping ---- */

/* The content of the file; NULL when out of memory. */
static char *content(const json_t *key, const char *text) {
    cleanup(json_decrefp) json_t *all = NULL;
    char hash[SHA256_TEXT_SIZE];

    if (sha256_of(text, strlen(text), hash))
        return NULL;
    all = json_pack("{s:O s:s s:s}", "key", key, "sha256", hash, "measured", text);
    return all ? json_text(all, JSON_SORT_KEYS | JSON_COMPACT) : NULL;
}

int kept_store(struct run *run, const char *text) {
    cleanup(json_decrefp) json_t *key = NULL;
    cleanup(freep) char *whole = NULL;
    struct cache_file file = {};
    char name[CACHE_NAME_SIZE];
    bool possible;
    size_t size;
    int r = is_possible(run, &possible);

    if (r || !possible)
        return r;
    key = key_of(run);
    whole = key ? content(key, text) : NULL;
    if (!whole || json_sha256(key, name))
        return failure_oom(run->failure);
    size = strlen(whole);
    if (cache_begin(run->job->states, size, &file))
        return 0; /* no room */
    if (pwrite(file.fd, whole, size, 0) != (ssize_t)size) {
        cache_abandon(&file);
        return 0;
    }
    return cache_publish(run->job->states, &file, name) == -ENOMEM ? failure_oom(run->failure) : 0;
}
