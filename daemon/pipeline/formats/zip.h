// SPDX-License-Identifier: Apache-2.0
/*
 * A ZIP file that is written from front to back: its records are stored as they are, begin on
 * multiples of 64 bytes, and are given one after the other; ZIP64 where sizes, offsets or their
 * number ask for it. libzip writes an archive as a whole when it is closed, for which all records
 * would have to be there. Layout: APPNOTE.TXT 6.3.10, sections 4.3 to 4.5. One thread.
 */
#pragma once

#include "base/output/output.h"
#include "base/str.h"

#include <stdint.h>

#define ZIP_ALIGNMENT 64

/* Zero-initialise but for the file. */
struct zip_writer {
    struct output *output;   /* borrowed; all that is written to it */
    uint64_t n_records;      /* so far */
    struct strbuf directory; /* the central directory so far */
};

/* All borrowed. */
struct zip_record {
    const char *name; /* at most 65535 bytes; not there yet */
    const void *data;
    uint64_t size;
};

void zip_writer_done(struct zip_writer *zip);

/*
 * zip_writer_add() - append @n records; some threads find their CRCs. The same records give the
 * same bytes: all have the date 1980-01-01. Return: 0 or -errno.
 */
int zip_writer_add(struct zip_writer *zip, const struct zip_record *records, size_t n);

/* zip_writer_finish() - write the directory. Return: 0 or -errno. */
int zip_writer_finish(struct zip_writer *zip);
