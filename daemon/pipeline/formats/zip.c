// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/formats/zip.h"

#include "base/cleanup.h"
#include "base/macros.h"
#include "base/task.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define LOCAL_HEADER 0x04034b50
#define CENTRAL_HEADER 0x02014b50
#define END 0x06054b50
#define END_64 0x06064b50
#define END_64_LOCATOR 0x07064b50
#define EXTRA_64 0x0001
#define EXTRA_PADDING 0x4246 /* "FB", as torch pads */

#define VERSION 20    /* 2.0: folders in names */
#define VERSION_64 45 /* 4.5: ZIP64 */
#define DATE 0x0021   /* 1980-01-01, the first that there is */

#define LOCAL_HEADER_SIZE 30
#define LEAST_64 UINT32_MAX /* from here on a number stands in 64 bits */

/* One record on its way. */
struct record {
    const struct zip_record *of;
    uint64_t offset;
    uint32_t crc;
    struct strbuf header;
};

static void put(struct strbuf *to, uint64_t value, int n_bytes) {
    char bytes[8];

    for (int i = 0; i < n_bytes; i++)
        bytes[i] = (char)(value >> 8 * i);
    strbuf_append(to, bytes, n_bytes);
}

static bool is_large(uint64_t value) {
    return value >= LEAST_64;
}

static void put_32(struct strbuf *to, uint64_t value) {
    put(to, MIN(value, (uint64_t)LEAST_64), 4);
}

/* What the two headers of a record share, from the version to the length of the name. */
static void put_common(struct strbuf *to, const struct record *record) {
    bool large = is_large(record->of->size) || is_large(record->offset);

    put(to, large ? VERSION_64 : VERSION, 2);
    put(to, 0, 2); /* flags: names are ASCII, sizes are known */
    put(to, 0, 2); /* stored */
    put(to, 0, 2); /* 00:00 */
    put(to, DATE, 2);
    put(to, record->crc, 4);
    put_32(to, record->of->size);
    put_32(to, record->of->size);
    put(to, strlen(record->of->name), 2);
}

/* The header before the data, which ends on a multiple of ZIP_ALIGNMENT. */
static void put_local(struct strbuf *to, const struct record *record) {
    size_t extra = is_large(record->of->size) ? 20 : 0, padding;
    uint64_t end = record->offset + LOCAL_HEADER_SIZE + strlen(record->of->name) + extra + 4;

    padding = (ZIP_ALIGNMENT - end % ZIP_ALIGNMENT) % ZIP_ALIGNMENT;
    put(to, LOCAL_HEADER, 4);
    put_common(to, record);
    put(to, extra + 4 + padding, 2);
    strbuf_puts(to, record->of->name);
    if (extra) {
        put(to, EXTRA_64, 2);
        put(to, 16, 2);
        put(to, record->of->size, 8);
        put(to, record->of->size, 8);
    }
    put(to, EXTRA_PADDING, 2);
    put(to, padding, 2);
    for (size_t i = 0; i < padding; i++)
        put(to, 0, 1);
}

/* Its entry in the directory. */
static void put_central(struct strbuf *to, const struct record *record) {
    size_t numbers = (is_large(record->of->size) ? 16 : 0) + (is_large(record->offset) ? 8 : 0);

    put(to, CENTRAL_HEADER, 4);
    put(to, VERSION_64, 2);
    put_common(to, record);
    put(to, numbers ? 4 + numbers : 0, 2);
    put(to, 0, 2); /* no comment */
    put(to, 0, 2); /* disk */
    put(to, 0, 2);
    put(to, 0, 4);
    put_32(to, record->offset);
    strbuf_puts(to, record->of->name);
    if (!numbers)
        return;
    put(to, EXTRA_64, 2);
    put(to, numbers, 2);
    if (is_large(record->of->size)) {
        put(to, record->of->size, 8);
        put(to, record->of->size, 8);
    }
    if (is_large(record->offset))
        put(to, record->offset, 8);
}

static uint32_t crc_of(const unsigned char *data, uint64_t size) {
    uLong crc = crc32(0, NULL, 0);

    while (size > 0) {
        uInt n = (uInt)MIN(size, (uint64_t)INT_MAX);

        crc = crc32(crc, data, n);
        data += n;
        size -= n;
    }
    return (uint32_t)crc;
}

void zip_writer_done(struct zip_writer *zip) {
    strbuf_done(&zip->directory);
}

static int find_crc(void *ctx, int i) {
    struct record *record = (struct record *)ctx + i;

    record->crc = crc_of(record->of->data, record->of->size);
    return 0;
}

/* Headers and data of @n records to @parts [2 n], and their entries to the directory. */
static int lay_out(struct zip_writer *zip, struct record *records, size_t n, struct iovec *parts) {
    uint64_t offset = zip->output->size;

    for (size_t i = 0; i < n; i++) {
        struct record *record = &records[i];

        record->offset = offset;
        put_local(&record->header, record);
        put_central(&zip->directory, record);
        if (record->header.failed || zip->directory.failed)
            return -ENOMEM;
        parts[2 * i] = (struct iovec){record->header.data, record->header.length};
        parts[2 * i + 1] = (struct iovec){(void *)record->of->data, record->of->size};
        offset += record->header.length + record->of->size;
    }
    return 0;
}

static int add_records(struct zip_writer *zip, struct record *records, size_t n) {
    cleanup(freep) struct iovec *parts = calloc(2 * n, sizeof(*parts));
    int r = parts ? tasks_share(find_crc, records, (int)n) : -ENOMEM;

    if (!r)
        r = lay_out(zip, records, n, parts);
    if (!r)
        r = output_append(zip->output, parts, 2 * n);
    if (!r)
        zip->n_records += n;
    return r;
}

int zip_writer_add(struct zip_writer *zip, const struct zip_record *records, size_t n) {
    struct record *all;
    int r;

    for (size_t i = 0; i < n; i++) {
        if (strlen(records[i].name) > UINT16_MAX)
            return -EINVAL;
    }
    if (n == 0 || n > INT_MAX)
        return n ? -EINVAL : 0;
    all = calloc(n, sizeof(*all));
    if (!all)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        all[i].of = &records[i];
    r = add_records(zip, all, n);
    for (size_t i = 0; i < n; i++)
        strbuf_done(&all[i].header);
    free(all);
    return r;
}

static void put_end_64(struct strbuf *to, const struct zip_writer *zip) {
    put(to, END_64, 4);
    put(to, 44, 8); /* bytes of this record from here on */
    put(to, VERSION_64, 2);
    put(to, VERSION_64, 2);
    put(to, 0, 4); /* disks */
    put(to, 0, 4);
    put(to, zip->n_records, 8);
    put(to, zip->n_records, 8);
    put(to, zip->directory.length, 8);
    put(to, zip->output->size, 8);
    put(to, END_64_LOCATOR, 4);
    put(to, 0, 4);
    put(to, zip->output->size + zip->directory.length, 8);
    put(to, 1, 4); /* disks */
}

int zip_writer_finish(struct zip_writer *zip) {
    uint64_t n = MIN(zip->n_records, (uint64_t)UINT16_MAX);
    cleanup(strbuf_done) struct strbuf end = {};
    int r;

    if (n == UINT16_MAX || is_large(zip->output->size) || is_large(zip->directory.length))
        put_end_64(&end, zip);
    put(&end, END, 4);
    put(&end, 0, 2); /* disks */
    put(&end, 0, 2);
    put(&end, n, 2);
    put(&end, n, 2);
    put_32(&end, zip->directory.length);
    put_32(&end, zip->output->size);
    put(&end, 0, 2); /* no comment */
    if (end.failed)
        return -ENOMEM;
    r = output_put(zip->output, zip->directory.data, zip->directory.length);
    return r ? r : output_put(zip->output, end.data, end.length);
}
