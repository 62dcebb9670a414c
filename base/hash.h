// SPDX-License-Identifier: Apache-2.0
/* Content hashes by OpenSSL. One hash is used by one thread. */
#pragma once

#include "base/cleanup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHA256_TEXT_SIZE 65 /* 64 lower-case hex digits and the NUL */

struct sha256;

/* sha256_new() - an empty hash, owned by the caller; NULL when out of memory. */
struct sha256 *sha256_new(void);
void sha256_free(struct sha256 *hash);
void sha256_update(struct sha256 *hash, const void *data, size_t size);
/* sha256_finish() - the digest as hex; the hash may only be freed afterwards. */
void sha256_finish(struct sha256 *hash, char ret_text[SHA256_TEXT_SIZE]);

/* sha256_of() - the digest of one block. Return: 0 or -ENOMEM. */
int sha256_of(const void *data, size_t size, char ret_text[SHA256_TEXT_SIZE]);

/* sha256_hmac() - HMAC-SHA256 (RFC 2104) of a block by a key. Return: 0 or -ENOMEM. */
int sha256_hmac(const void *key, size_t key_size, const void *data, size_t size,
                char ret_text[SHA256_TEXT_SIZE]);

/* sha256_equal() - are two digests the same? Takes as long for any two. */
bool sha256_equal(const char a[SHA256_TEXT_SIZE], const char b[SHA256_TEXT_SIZE]);

/* sha256_of_file() - the digest and size of the file at @path. Return: 0 or -errno. */
int sha256_of_file(const char *path, char ret_text[SHA256_TEXT_SIZE], uint64_t *ret_size);

DEFINE_CLEANUP(struct sha256 *, sha256_freep, sha256_free)

/* What others name their content by; only SHA-256 resists a forger. */
enum digest_kind { DIGEST_SHA256, DIGEST_SHA1, DIGEST_MD5 };

#define DIGEST_TEXT_SIZE SHA256_TEXT_SIZE /* the longest, as lower-case hex, and the NUL */

struct digest;

/* digest_new() - an empty hash of @kind, owned by the caller; NULL when out of memory. */
struct digest *digest_new(enum digest_kind kind);
void digest_free(struct digest *digest);
void digest_update(struct digest *digest, const void *data, size_t size);
/* digest_finish() - the digest as hex; the hash may only be freed afterwards. */
void digest_finish(struct digest *digest, char ret_text[DIGEST_TEXT_SIZE]);

DEFINE_CLEANUP(struct digest *, digest_freep, digest_free)
