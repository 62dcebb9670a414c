// SPDX-License-Identifier: Apache-2.0
/*
 * What the rest of the daemon asks for: the text of a data set by its name, joined as the GPTQ
 * scripts join it. wikitext2, ptb and a text file are one text, c4 stays documents. JSON lines of
 * file: are documents to calibrate with, and one text to measure.
 *
 * This folder reads data sets. It knows base, and nothing of the hub below it: files come through
 * the seam in source.h.
 */
#pragma once

#include "base/cleanup.h"
#include "base/hash.h"
#include "daemon/data/dataset.h"

#include <stdbool.h>
#include <stddef.h>

struct corpus {
    char *text;         /* all of it, UTF-8, NUL-terminated; owned */
    size_t size;        /* bytes of text */
    size_t *documents;  /* n_documents + 1 offsets into text; NULL when it is one text; owned */
    size_t n_documents; /* 0 when it is one text */
    size_t gap;         /* bytes of text between two documents, which belong to neither */
    bool joinable;      /* when few documents are long enough, windows are drawn from all of text */
    int max_windows;    /* evaluation takes at most so many windows: c4-new 256, else 0: all */
    char sha256[SHA256_TEXT_SIZE]; /* of text and documents */
};

/*
 * Where corpora come from. data_roots: folders below which `file:PATH` is looked up, see local.h.
 */
struct corpora {
    struct source *source;   /* borrowed */
    char *const *data_roots; /* borrowed */
    int n_data_roots;
};

/*
 * corpus_file() - the file of the catalog that data set @name reads for @use. Return: 0; -ENOENT:
 * none, the name is of no public set.
 */
int corpus_file(const char *name, enum corpus_use use, enum catalog_id *ret_id);

/*
 * corpus_check_name() - is @name a data set for @use: wikitext2 ptb c4, ptb-new c4-new, file:PATH?
 * Return: 0, or -EINVAL with the failure of the request's @field. Looks at no file.
 */
int corpus_check_name(const char *name, enum corpus_use use, const char *field,
                      struct failure *failure);

/*
 * corpus_check() - can @name be read, judging by its first bytes? For file:PATH whether a data
 * root has it and it may be text; files of public sets are fetched later, so 0. Some microseconds.
 * *ret_size: bytes of the file as it is stored; SIZE_MAX for a public set.
 * Return: 0; -ENOENT (dataset_not_found); -EBADMSG (dataset_invalid); -errno. Any thread.
 */
int corpus_check(const struct corpora *corpora, const char *name, size_t *ret_size,
                 struct failure *failure);

/*
 * corpus_load() - read data set @name; the caller owns *ret_corpus. At most 1 GiB of text.
 * Return: 0; -ENOENT (dataset_not_found: what was looked for and where); -EBADMSG
 * (dataset_invalid: damaged, packed or of a format that is no text; not UTF-8); -errno. Any thread.
 */
int corpus_load(const struct corpora *corpora, const char *name, enum corpus_use use,
                struct corpus **ret_corpus, struct failure *failure);
void corpus_free(struct corpus *corpus); /* NULL is fine */

DEFINE_CLEANUP(struct corpus *, corpus_freep, corpus_free)
