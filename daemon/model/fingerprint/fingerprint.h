// SPDX-License-Identifier: Apache-2.0
/*
 * The fingerprint of a model: a hash over all bytes of the files that its weights are in, and of
 * what describes them. Files are hashed by threads of their own while the job already computes;
 * those whose hash is known by their identity (hash_cache.h) are not read. They are read by
 * read(), not through a mapping: millions of page faults would hold up the threads that compute.
 *
 * The name of a blob in the hub's cache is not taken for its hash: a user who can write there can
 * change the blob under its name.
 */
#pragma once

#include "base/cleanup.h"
#include "base/hash.h"
#include "daemon/model/fingerprint/identity.h"

/* One file with weights; all borrowed until fingerprint_free(). */
struct fingerprint_file {
    const char *name;         /* in its folder; part of the fingerprint */
    const char *root, *path;  /* as for file_open_in() */
    struct identity identity; /* when it was opened */
};

struct fingerprint; /* one thread, but for what it starts itself */

/**
 * fingerprint_start() - begin to hash @n files (borrowed) in the background
 * @description: what else is part of the fingerprint: a hash over it, as text; copied
 * @cache_path:  of the hash cache, or NULL; copied
 *
 * Return: 0 or -errno with the failure.
 */
int fingerprint_start(const struct fingerprint_file *files, size_t n, const char *description,
                      const char *cache_path, struct fingerprint **ret_fingerprint,
                      struct failure *failure);

/* fingerprint_is_known() - would fingerprint_wait() return at once? */
bool fingerprint_is_known(const struct fingerprint *fingerprint);

/*
 * fingerprint_wait() - the fingerprint, once all files are hashed. Return: 0; -ESTALE
 * (model_changed): a file is not what it was; or another -errno with the failure.
 */
int fingerprint_wait(struct fingerprint *fingerprint, char ret_text[SHA256_TEXT_SIZE],
                     struct failure *failure);

/* fingerprint_sha256() - of file @i, as text, after fingerprint_wait(); borrowed. */
const char *fingerprint_sha256(const struct fingerprint *fingerprint, size_t i);

/* fingerprint_free() - stops what still runs; NULL is fine. */
void fingerprint_free(struct fingerprint *fingerprint);

DEFINE_CLEANUP(struct fingerprint *, fingerprint_freep, fingerprint_free)
