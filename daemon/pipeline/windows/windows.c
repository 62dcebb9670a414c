// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/windows/windows.h"

#include "base/checked.h"
#include "daemon/pipeline/windows/python_random.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define DOCUMENT_WINDOWS 256 /* that evaluation draws, as the GPTQ scripts do */

/* More than the tokens of the largest text. */
#define IDS_MAX ((size_t)1 << 31)

#define HINT_SHORT "use a longer text or a smaller seqlen"

/* The documents of a corpus, each measured when it is first drawn. */
struct pool {
    const struct corpus *corpus;
    const struct tokenizer *tokenizer;
    int64_t *n_tokens;       /* [n_documents], -1: not measured yet; owned */
    uint64_t n_tokens_total; /* of the documents measured */
    int64_t longest;
};

static void pool_done(struct pool *pool) {
    free(pool->n_tokens);
}

static int too_short(uint64_t n_tokens, int needed, const char *what, struct failure *failure) {
    return failure_set(failure, -ENODATA, "dataset_too_short", HINT_SHORT,
                       "cannot cut a window of %d tokens: %s has %llu", needed, what,
                       (unsigned long long)n_tokens);
}

/* @n windows with room for their ids; @n and @seqlen come from outside. */
static int windows_new(int64_t n, int seqlen, struct windows **ret_windows,
                       struct failure *failure) {
    cleanup(windows_freep) struct windows *windows = NULL;
    size_t n_ids;

    if (n < 1 || n > INT_MAX || seqlen < 2 || checked_mul((size_t)n, (size_t)seqlen, &n_ids) ||
        n_ids > IDS_MAX)
        return failure_set(failure, -EINVAL, "parameter_invalid",
                           "nsamples must be 1 or more, seqlen 2 or more, their product at most "
                           "2^31",
                           "cannot make %lld windows of %d tokens", (long long)n, seqlen);
    windows = calloc(1, sizeof(*windows));
    if (!windows)
        return failure_oom(failure);
    windows->ids = malloc(n_ids * sizeof(*windows->ids));
    if (!windows->ids)
        return failure_oom(failure);
    windows->n = (int)n;
    windows->seqlen = seqlen;
    *ret_windows = steal_ptr(windows);
    return 0;
}

void windows_free(struct windows *windows) {
    if (!windows)
        return;
    free(windows->ids);
    free(windows);
}

static int set_hash(struct windows *windows, struct failure *failure) {
    cleanup(sha256_freep) struct sha256 *hash = sha256_new();
    int32_t shape[] = {windows->n, windows->seqlen};

    if (!hash)
        return failure_oom(failure);
    sha256_update(hash, shape, sizeof(shape));
    sha256_update(hash, windows->ids,
                  (size_t)windows->n * (size_t)windows->seqlen * sizeof(*windows->ids));
    sha256_finish(hash, windows->sha256);
    return 0;
}

static void put_window(struct windows *windows, int i, const int32_t *ids) {
    size_t seqlen = (size_t)windows->seqlen;

    memcpy(windows->ids + (size_t)i * seqlen, ids, seqlen * sizeof(*ids));
}

/* Windows at random places of one text. */
static int sample_text(const struct corpus *corpus, const struct tokenizer *tokenizer,
                       struct python_random *random, struct windows *windows,
                       struct failure *failure) {
    cleanup(freep) int32_t *ids = NULL;
    size_t n_ids, seqlen = (size_t)windows->seqlen;
    int r;

    r = tokenizer_encode(tokenizer, corpus->text, corpus->size, &ids, &n_ids, failure);
    if (r)
        return r;
    if (n_ids <= seqlen) /* randint(0, -1) is an error in Python, too */
        return too_short(n_ids, windows->seqlen + 1, "the text", failure);
    for (int i = 0; i < windows->n; i++)
        put_window(windows, i, ids + python_random_int(random, n_ids - seqlen - 1));
    windows->n_tokens = n_ids;
    return 0;
}

/* The tokens of document @i, owned by the caller. Notes how many they are. */
static int pool_encode(struct pool *pool, size_t i, int32_t **ret_ids, size_t *ret_n_ids,
                       struct failure *failure) {
    const struct corpus *corpus = pool->corpus;
    bool last = i + 1 == corpus->n_documents;
    size_t start = corpus->documents[i];
    size_t end = corpus->documents[i + 1] - (last ? 0 : corpus->gap);
    int r;

    r = tokenizer_encode(pool->tokenizer, corpus->text + start, end - start, ret_ids, ret_n_ids,
                         failure);
    if (r)
        return r;
    if (pool->n_tokens[i] < 0) {
        pool->n_tokens[i] = (int64_t)*ret_n_ids;
        pool->n_tokens_total += *ret_n_ids;
        pool->longest = MAX(pool->longest, pool->n_tokens[i]);
    }
    return 0;
}

/*
 * Measures documents until @n have @seqlen tokens; *ret_found at most @n have. Drawing alone might
 * never find out that none has.
 */
static int pool_measure(struct pool *pool, int seqlen, int n, int *ret_found,
                        struct failure *failure) {
    int found = 0;

    for (size_t i = 0; i < pool->corpus->n_documents && found < n; i++) {
        cleanup(freep) int32_t *ids = NULL;
        size_t n_ids;
        int r = pool->n_tokens[i] < 0 ? pool_encode(pool, i, &ids, &n_ids, failure) : 0;

        if (r)
            return r;
        found += pool->n_tokens[i] >= seqlen;
    }
    *ret_found = found;
    return 0;
}

static int pool_check(struct pool *pool, int seqlen, struct failure *failure) {
    int found, r = pool_measure(pool, seqlen, 1, &found, failure);

    if (!r && !found)
        r = too_short((uint64_t)pool->longest, seqlen, "the longest document", failure);
    return r;
}

/* One window from the first document drawn that has enough tokens. */
static int draw_window(struct pool *pool, struct python_random *random, struct windows *windows,
                       int at, struct failure *failure) {
    size_t n_documents = pool->corpus->n_documents, seqlen = (size_t)windows->seqlen;

    /* Ends, with probability 1: past n_documents draws a long enough document is known to be. */
    for (size_t draws = 0;; draws++) {
        cleanup(freep) int32_t *ids = NULL;
        size_t i, n_ids;
        int r;

        if (draws == n_documents && pool->longest < windows->seqlen) {
            r = pool_check(pool, windows->seqlen, failure);
            if (r)
                return r;
        }
        i = python_random_int(random, n_documents - 1);
        if (pool->n_tokens[i] >= 0 && (size_t)pool->n_tokens[i] < seqlen)
            continue;
        r = pool_encode(pool, i, &ids, &n_ids, failure);
        if (r)
            return r;
        if (n_ids < seqlen)
            continue;
        put_window(windows, at,
                   ids + (n_ids > seqlen ? python_random_int(random, n_ids - seqlen - 1) : 0));
        return 0;
    }
}

static int pool_init(struct pool *pool, const struct corpus *corpus,
                     const struct tokenizer *tokenizer, struct failure *failure) {
    size_t size;

    pool->corpus = corpus;
    pool->tokenizer = tokenizer;
    if (checked_mul(corpus->n_documents, sizeof(*pool->n_tokens), &size))
        return failure_oom(failure);
    pool->n_tokens = malloc(size);
    if (!pool->n_tokens)
        return failure_oom(failure);
    memset(pool->n_tokens, 0xff, size); /* -1 each */
    return 0;
}

static int sample_documents(const struct corpus *corpus, const struct tokenizer *tokenizer,
                            struct python_random *random, struct windows *windows,
                            struct failure *failure) {
    cleanup(pool_done) struct pool pool = {};
    int found = windows->n;
    int r = pool_init(&pool, corpus, tokenizer, failure);

    if (!r && corpus->joinable)
        r = pool_measure(&pool, windows->seqlen, windows->n, &found, failure);
    if (r)
        return r;
    if (found < windows->n)
        return sample_text(corpus, tokenizer, random, windows, failure);
    for (int i = 0; i < windows->n; i++) {
        r = draw_window(&pool, random, windows, i, failure);
        if (r)
            return r;
    }
    windows->n_tokens = pool.n_tokens_total;
    return 0;
}

int windows_sample(const struct corpus *corpus, const struct tokenizer *tokenizer, int n,
                   int seqlen, uint64_t seed, struct windows **ret_windows,
                   struct failure *failure) {
    cleanup(windows_freep) struct windows *windows = NULL;
    struct python_random random;
    int r;

    r = windows_new(n, seqlen, &windows, failure);
    if (r)
        return r;
    python_random_seed(&random, seed);
    if (corpus->n_documents > 0)
        r = sample_documents(corpus, tokenizer, &random, windows, failure);
    else
        r = sample_text(corpus, tokenizer, &random, windows, failure);
    if (r)
        return r;
    r = set_hash(windows, failure);
    if (r)
        return r;
    *ret_windows = steal_ptr(windows);
    return 0;
}

int windows_cut(const struct corpus *corpus, const struct tokenizer *tokenizer, int seqlen,
                struct windows **ret_windows, struct failure *failure) {
    cleanup(windows_freep) struct windows *windows = NULL;
    cleanup(freep) int32_t *ids = NULL;
    size_t n_ids, n = 1;
    int r;

    if (corpus->n_documents > 0)
        return windows_sample(corpus, tokenizer, DOCUMENT_WINDOWS, seqlen, 0, ret_windows, failure);
    r = tokenizer_encode(tokenizer, corpus->text, corpus->size, &ids, &n_ids, failure);
    if (r)
        return r;
    if (seqlen > 0)
        n = n_ids / (size_t)seqlen;
    if (n == 0)
        return too_short(n_ids, seqlen, "the text", failure);
    if (corpus->max_windows > 0)
        n = MIN(n, (size_t)corpus->max_windows);
    r = windows_new((int64_t)n, seqlen, &windows, failure);
    if (r)
        return r;
    for (int i = 0; i < windows->n; i++)
        put_window(windows, i, ids + (size_t)i * (size_t)seqlen);
    windows->n_tokens = n_ids;
    r = set_hash(windows, failure);
    if (r)
        return r;
    *ret_windows = steal_ptr(windows);
    return 0;
}
