// SPDX-License-Identifier: Apache-2.0
/*
 * The text of a data set, joined as the GPTQ scripts join it (see docs/DESIGN.md, Numerics):
 * wikitext2 and file: are one text; c4 for calibration and for c4 evaluation stays documents.
 */
#pragma once

#include "base/cleanup.h"
#include "base/hash.h"
#include "daemon/data/source.h"

#include <stdbool.h>
#include <stddef.h>

enum corpus_use {
    CORPUS_CALIBRATION, /* wikitext2: train; ptb: train; c4: train shard, documents */
    CORPUS_EVALUATION,  /* wikitext2: test; ptb: valid; ptb-new: test; c4: validation shard,
                           documents; c4-new: its first 1100 documents joined by " " */
};

struct corpus {
    char *text;         /* all of it, UTF-8, NUL-terminated; owned */
    size_t size;        /* bytes of text */
    size_t *documents;  /* n_documents + 1 offsets into text; NULL when it is one text; owned */
    size_t n_documents; /* 0 when it is one text */
    int max_windows;    /* evaluation takes at most so many windows: c4-new 256, else 0: all */
    char sha256[SHA256_TEXT_SIZE]; /* of text and documents */
};

/*
 * Where corpora come from. data_roots: folders under which `file:PATH` is looked up; PATH is
 * relative and cannot leave the root (openat2 with RESOLVE_BENEATH).
 */
struct corpora {
    struct source *source;   /* borrowed */
    char *const *data_roots; /* borrowed */
    int n_data_roots;
};

/* corpus_known() - is @name a data set for @use: wikitext2 ptb c4, ptb-new c4-new, file:PATH? */
bool corpus_known(const char *name, enum corpus_use use);

/*
 * corpus_load() - read data set @name; the caller owns *ret_corpus. At most 1 GiB of text.
 * Return: 0; -ENOENT (dataset_not_found: what was looked for and where); -EBADMSG
 * (dataset_invalid: damaged zip, gz, JSON, not UTF-8); -errno. Any thread.
 */
int corpus_load(const struct corpora *corpora, const char *name, enum corpus_use use,
                struct corpus **ret_corpus, struct failure *failure);
void corpus_free(struct corpus *corpus); /* NULL is fine */

DEFINE_CLEANUP(struct corpus *, corpus_freep, corpus_free)
