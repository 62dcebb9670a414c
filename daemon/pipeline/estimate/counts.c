// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/estimate/counts.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/macros.h"
#include "base/str.h"
#include "daemon/pipeline/windows/windows.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>

#define KEPT 64
#define KEPT_SECONDS 60.0

struct count {
    char *key; /* owned; NULL: free */
    int n;
    double at; /* monotonic */
};

struct counts {
    pthread_mutex_t mutex;
    struct count at[KEPT];
    size_t next; /* is overwritten next */
};

struct counts *counts_new(void) {
    struct counts *counts = calloc(1, sizeof(*counts));

    if (counts)
        pthread_mutex_init(&counts->mutex, NULL);
    return counts;
}

void counts_free(struct counts *counts) {
    if (!counts)
        return;
    for (size_t i = 0; i < KEPT; i++)
        free(counts->at[i].key);
    pthread_mutex_destroy(&counts->mutex);
    free(counts);
}

/* The tokenizer's file as it is now, the length and the set; NULL: out of memory. */
static char *key_of(const char *tokenizer_path, int seqlen, const char *name) {
    struct stat st = {};

    stat(tokenizer_path, &st);
    return str_format("%" PRIu64 " %" PRIu64 " %" PRId64 " %" PRId64 ".%09ld %d %s",
                      (uint64_t)st.st_dev, (uint64_t)st.st_ino, (int64_t)st.st_size,
                      (int64_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec, seqlen, name);
}

static const struct count *find(const struct counts *counts, const char *key) {
    for (size_t i = 0; i < KEPT; i++) {
        const struct count *count = &counts->at[i];

        if (str_equal(count->key, key) && clock_monotonic() - count->at < KEPT_SECONDS)
            return count;
    }
    return NULL;
}

/* Takes over @key. */
static void keep(struct counts *counts, char *key, int n) {
    struct count *count = &counts->at[counts->next];

    counts->next = (counts->next + 1) % KEPT;
    free(count->key);
    *count = (struct count){key, n, clock_monotonic()};
}

/* Cuts one long text, at a character; what was cut off, as a factor of what stays. */
static double shorten(struct corpus *corpus) {
    size_t size = corpus->size;

    if (corpus->documents || size <= COUNTS_TEXT_MAX)
        return 1;
    corpus->size = COUNTS_TEXT_MAX;
    while (((unsigned char)corpus->text[corpus->size] & 0xc0) == 0x80)
        corpus->size--;
    corpus->text[corpus->size] = '\0';
    return (double)size / (double)corpus->size;
}

static int count(const struct corpora *corpora, const char *name, const struct tokenizer *tokenizer,
                 int seqlen, int *ret_n, struct failure *failure) {
    cleanup(corpus_freep) struct corpus *corpus = NULL;
    cleanup(windows_freep) struct windows *windows = NULL;
    int r = corpus_load(corpora, name, CORPUS_EVALUATION, &corpus, failure);
    double factor, n;

    if (r == -ENOENT) {
        *ret_n = -1;
        return 0;
    }
    if (r)
        return r;
    factor = shorten(corpus);
    r = windows_cut(corpus, tokenizer, seqlen, &windows, failure);
    if (r)
        return r;
    n = windows->n * factor;
    *ret_n = corpus->max_windows ? MIN((int)n, corpus->max_windows) : (int)n;
    return 0;
}

int counts_windows(struct counts *counts, const struct corpora *corpora, const char *name,
                   const struct tokenizer *tokenizer, const char *tokenizer_path, int seqlen,
                   int *ret_n, struct failure *failure) {
    cleanup(freep) char *key = key_of(tokenizer_path, seqlen, name);
    const struct count *known;
    int r = 0;

    if (!key)
        return failure_oom(failure);
    pthread_mutex_lock(&counts->mutex);
    known = find(counts, key);
    if (known)
        *ret_n = known->n;
    else
        r = count(corpora, name, tokenizer, seqlen, ret_n, failure);
    if (!r && !known)
        keep(counts, steal_ptr(key), *ret_n);
    pthread_mutex_unlock(&counts->mutex);
    return r;
}
