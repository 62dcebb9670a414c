// SPDX-License-Identifier: Apache-2.0
#include "base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>

struct digest {
    EVP_MD_CTX *context;
};

struct digest *digest_new(enum digest_kind kind) {
    const EVP_MD *md = kind == DIGEST_SHA256 ? EVP_sha256()
                       : kind == DIGEST_SHA1 ? EVP_sha1()
                                             : EVP_md5();
    cleanup(digest_freep) struct digest *digest = calloc(1, sizeof(*digest));

    if (!digest)
        return NULL;
    digest->context = EVP_MD_CTX_new();
    if (!digest->context || EVP_DigestInit_ex(digest->context, md, NULL) != 1)
        return NULL;
    return steal_ptr(digest);
}

void digest_free(struct digest *digest) {
    if (!digest)
        return;
    EVP_MD_CTX_free(digest->context);
    free(digest);
}

void digest_update(struct digest *digest, const void *data, size_t size) {
    EVP_DigestUpdate(digest->context, data, size);
}

void digest_finish(struct digest *digest, char ret_text[DIGEST_TEXT_SIZE]) {
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned int n = 0;

    EVP_DigestFinal_ex(digest->context, bytes, &n);
    for (unsigned int i = 0; i < n && i < DIGEST_TEXT_SIZE / 2; i++)
        snprintf(ret_text + 2 * i, 3, "%02x", bytes[i]);
}

/* A SHA-256 is a digest by another name: the type keeps callers from mixing kinds. */
struct sha256 *sha256_new(void) {
    return (struct sha256 *)digest_new(DIGEST_SHA256);
}

void sha256_free(struct sha256 *hash) {
    digest_free((struct digest *)hash);
}

void sha256_update(struct sha256 *hash, const void *data, size_t size) {
    digest_update((struct digest *)hash, data, size);
}

void sha256_finish(struct sha256 *hash, char ret_text[SHA256_TEXT_SIZE]) {
    digest_finish((struct digest *)hash, ret_text);
}

int sha256_of(const void *data, size_t size, char ret_text[SHA256_TEXT_SIZE]) {
    cleanup(sha256_freep) struct sha256 *hash = sha256_new();

    if (!hash)
        return -ENOMEM;
    sha256_update(hash, data, size);
    sha256_finish(hash, ret_text);
    return 0;
}

int sha256_hmac(const void *key, size_t key_size, const void *data, size_t size,
                char ret_text[SHA256_TEXT_SIZE]) {
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned int n = 0;

    if (!HMAC(EVP_sha256(), key, (int)key_size, data, size, bytes, &n))
        return -ENOMEM;
    for (unsigned int i = 0; i < n; i++)
        snprintf(ret_text + 2 * i, 3, "%02x", bytes[i]);
    return 0;
}

bool sha256_equal(const char a[SHA256_TEXT_SIZE], const char b[SHA256_TEXT_SIZE]) {
    return CRYPTO_memcmp(a, b, SHA256_TEXT_SIZE - 1) == 0;
}

int sha256_of_file(const char *path, char ret_text[SHA256_TEXT_SIZE], uint64_t *ret_size) {
    cleanup(sha256_freep) struct sha256 *hash = sha256_new();
    cleanup(freep) unsigned char *block = malloc(1 << 20);
    cleanup(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint64_t size = 0;

    if (fd < 0)
        return -errno;
    if (!hash || !block)
        return -ENOMEM;
    for (;;) {
        ssize_t n = read(fd, block, 1 << 20);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        sha256_update(hash, block, n);
        size += n;
    }
    sha256_finish(hash, ret_text);
    *ret_size = size;
    return 0;
}
