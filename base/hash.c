// SPDX-License-Identifier: Apache-2.0
#include "base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>

struct sha256 {
    EVP_MD_CTX *context;
};

struct sha256 *sha256_new(void) {
    cleanup(sha256_freep) struct sha256 *hash = calloc(1, sizeof(*hash));

    if (!hash)
        return NULL;
    hash->context = EVP_MD_CTX_new();
    if (!hash->context || EVP_DigestInit_ex(hash->context, EVP_sha256(), NULL) != 1)
        return NULL;
    return steal_ptr(hash);
}

void sha256_free(struct sha256 *hash) {
    if (!hash)
        return;
    EVP_MD_CTX_free(hash->context);
    free(hash);
}

void sha256_update(struct sha256 *hash, const void *data, size_t size) {
    EVP_DigestUpdate(hash->context, data, size);
}

void sha256_finish(struct sha256 *hash, char ret_text[SHA256_TEXT_SIZE]) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int n = 0;

    EVP_DigestFinal_ex(hash->context, digest, &n);
    for (unsigned int i = 0; i < 32; i++)
        snprintf(ret_text + 2 * i, 3, "%02x", digest[i]);
}

int sha256_of(const void *data, size_t size, char ret_text[SHA256_TEXT_SIZE]) {
    cleanup(sha256_freep) struct sha256 *hash = sha256_new();

    if (!hash)
        return -ENOMEM;
    sha256_update(hash, data, size);
    sha256_finish(hash, ret_text);
    return 0;
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
