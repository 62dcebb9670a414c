// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/random_text.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "daemon/model/tokenizer/tokenizer.h"

#include <errno.h>

#define FIRST 0x800 /* all of three bytes, with surrogates above */
#define N_CHARACTERS 0xc800
#define TOKENS_MAX ((size_t)1 << 28)

static void draw(char *text, size_t n, unsigned int seed) {
    uint64_t z = 88172645463325252u + seed;

    for (size_t i = 0; i < n; i++) {
        unsigned int c;

        z ^= z << 13;
        z ^= z >> 7;
        z ^= z << 17;
        c = FIRST + (unsigned int)((z >> 32) % N_CHARACTERS);
        *text++ = (char)(0xe0 | c >> 12);
        *text++ = (char)(0x80 | (c >> 6 & 0x3f));
        *text++ = (char)(0x80 | (c & 0x3f));
    }
}

static int count(const struct tokenizer *tokenizer, const char *text, size_t n, size_t *ret_tokens,
                 struct failure *failure) {
    cleanup(freep) int32_t *ids = NULL;

    return tokenizer_encode(tokenizer, text, 3 * n, &ids, ret_tokens, failure);
}

int random_text_write(const char *path, const char *tokenizer_path, size_t n_tokens,
                      unsigned int seed, struct failure *failure) {
    cleanup(tokenizer_freep) struct tokenizer *tokenizer = NULL;
    cleanup(freep) char *text = NULL;
    size_t n = n_tokens, tokens = 0;
    int r;

    if (n_tokens > TOKENS_MAX)
        return failure_set(failure, -EINVAL, "usage", NULL, "more than %zu tokens", TOKENS_MAX);
    text = malloc(3 * n + 1);
    if (!text)
        return failure_oom(failure);
    r = tokenizer_open(NULL, tokenizer_path, &tokenizer, failure);
    if (r)
        return r;
    /* A character is one token at least: the first count says how many characters are needed. */
    draw(text, n, seed);
    r = count(tokenizer, text, n, &tokens, failure);
    if (r)
        return r;
    if (tokens > n_tokens)
        n = (size_t)((double)n * n_tokens / tokens);
    r = file_replace(path, text, 3 * n);
    return r ? failure_errno(failure, r, "cannot write", path) : 0;
}
