// SPDX-License-Identifier: Apache-2.0
/* WikiText-2, raw. A line is a row and keeps its newline, a blank line is an empty row. */
#include "daemon/data/dataset.h"
#include "daemon/data/text/text.h"
#include "daemon/data/text/zip_member.h"

/* The real train member has 11 MB. */
#define MEMBER_MAX ((size_t)256 << 20)

static void join_rows(const char *rows, size_t size, struct strbuf *joined) {
    const char *row;
    size_t at = 0, row_size;

    while (text_next_line(rows, size, &at, &row, &row_size)) {
        const char *words = row;
        size_t words_size = row_size;

        if (row != rows)
            strbuf_puts(joined, "\n\n");
        text_strip(&words, &words_size);
        if (words_size > 0)
            strbuf_append(joined, row, row_size);
    }
}

static int load(const struct dataset *dataset, enum corpus_use use, const char *path,
                struct documents *documents, struct failure *failure) {
    const char *member = use == CORPUS_CALIBRATION ? "wikitext-2-raw/wiki.train.raw"
                                                   : "wikitext-2-raw/wiki.test.raw";
    cleanup(freep) char *rows = NULL;
    size_t size;
    int r;

    r = zip_member_read(path, member, catalog[dataset->files[use]].path, MEMBER_MAX, &rows, &size,
                        failure);
    if (r)
        return r;
    r = text_check(rows, size, member, failure);
    if (r)
        return r;
    join_rows(rows, size, &documents->text);
    return 0;
}

const struct dataset dataset_wikitext2 = {
    .name = "wikitext2",
    .files = {[CORPUS_CALIBRATION] = CATALOG_WIKITEXT2, [CORPUS_EVALUATION] = CATALOG_WIKITEXT2},
    .load = load,
};
