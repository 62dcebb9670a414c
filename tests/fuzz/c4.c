// SPDX-License-Identifier: Apache-2.0
/* The lines of a shard of c4; the gzip around them is sound. */
#include "base/str.h"
#include "daemon/data/corpus.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>
#include <zlib.h>

#define NAME "c4.json.gz"

static int fetch(struct source *source, const char *host, const char *path, char **ret_path,
                 struct failure *failure) {
    (void)source;
    (void)host;
    (void)path;
    *ret_path = str_format("%s/" NAME, fuzz_folder());
    return *ret_path ? 0 : failure_oom(failure);
}

/* A gzip file in which the bytes lie as they are. */
static void pack(const uint8_t *data, size_t size) {
    size_t bound = size + size / 1000 + 256;
    z_stream stream = {};
    uint8_t *packed = malloc(bound);

    fuzz_require(packed);
    fuzz_require(deflateInit2(&stream, 0, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    stream.next_in = (uint8_t *)data;
    stream.avail_in = (uInt)size;
    stream.next_out = packed;
    stream.avail_out = (uInt)bound;
    fuzz_require(deflate(&stream, Z_FINISH) == Z_STREAM_END);
    fuzz_file(NAME, packed, stream.total_out);
    deflateEnd(&stream);
    free(packed);
}

static void load(const struct corpora *corpora, const char *name, enum corpus_use use) {
    cleanup(corpus_freep) struct corpus *corpus = NULL;
    struct failure failure = {};
    int r;

    r = corpus_load(corpora, name, use, &corpus, &failure);
    fuzz_require(!r == !!corpus && !r == !failure.code[0]);
    if (r)
        return;
    fuzz_require(str_utf8_length(corpus->text, corpus->size) == corpus->size);
    for (size_t i = 0; i < corpus->n_documents; i++)
        fuzz_require(corpus->documents[i] <= corpus->documents[i + 1]);
    fuzz_require(!corpus->n_documents || corpus->documents[corpus->n_documents] <= corpus->size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct source source = {.fetch = fetch};
    const struct corpora corpora = {.source = &source};

    pack(data, size);
    load(&corpora, "c4", CORPUS_CALIBRATION);
    load(&corpora, "c4-new", CORPUS_EVALUATION);
    return 0;
}
