// SPDX-License-Identifier: Apache-2.0
#include "daemon/data/text/zip_member.h"

#include "base/cleanup.h"
#include "daemon/data/text/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <zip.h>

/* English text shrinks to a third; deflate itself ends at 1032. */
#define RATIO_MAX 100
#define RATIO_SLACK ((zip_uint64_t)1 << 20)

#define HINT "delete the damaged file, so that it is fetched or copied again"

DEFINE_CLEANUP(zip_t *, zip_discardp, zip_discard)
DEFINE_CLEANUP(zip_file_t *, zip_fclosep, zip_fclose)

static int invalid(const char *subject, const char *why, struct failure *failure) {
    return failure_set(failure, -EBADMSG, "dataset_invalid", HINT, "cannot unpack '%s': %s",
                       subject, why);
}

static int open_archive(const char *path, const char *subject, zip_t **ret_archive,
                        struct failure *failure) {
    cleanup(closep) int fd = -1;
    zip_t *archive;
    zip_error_t error;
    int r, code = 0;

    r = text_open(path, subject, &fd, failure);
    if (r)
        return r;
    archive = zip_fdopen(fd, 0, &code);
    if (!archive) {
        zip_error_init_with_code(&error, code);
        r = code == ZIP_ER_MEMORY ? failure_oom(failure)
                                  : invalid(subject, zip_error_strerror(&error), failure);
        zip_error_fini(&error);
        return r;
    }
    steal_fd(&fd); /* the archive closes it now */
    *ret_archive = archive;
    return 0;
}

/* May the member be unpacked at all, judged by what the archive's directory says of it? */
static int check_member(const zip_stat_t *st, const char *subject, size_t max,
                        struct failure *failure) {
    const zip_uint64_t needed = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD |
                                ZIP_STAT_ENCRYPTION_METHOD | ZIP_STAT_INDEX;

    if ((st->valid & needed) != needed)
        return invalid(subject, "its directory is incomplete", failure);
    if (st->encryption_method != ZIP_EM_NONE)
        return invalid(subject, "the member is encrypted", failure);
    if (st->comp_method != ZIP_CM_STORE && st->comp_method != ZIP_CM_DEFLATE)
        return invalid(subject, "the member is neither stored nor deflated", failure);
    if (st->size > max)
        return failure_set(failure, -EBADMSG, "dataset_invalid", HINT,
                           "cannot unpack '%s': a member of %" PRIu64 " bytes, more than %zu",
                           subject, (uint64_t)st->size, max);
    if (st->size > RATIO_SLACK && st->size / RATIO_MAX > st->comp_size)
        return failure_set(failure, -EBADMSG, "dataset_invalid", HINT,
                           "cannot unpack '%s': %" PRIu64 " bytes that unpack to %" PRIu64
                           " are no text",
                           subject, (uint64_t)st->comp_size, (uint64_t)st->size);
    return 0;
}

static int unpack(zip_t *archive, zip_uint64_t index, const char *subject, char *data, size_t size,
                  struct failure *failure) {
    cleanup(zip_fclosep) zip_file_t *file = zip_fopen_index(archive, index, 0);
    size_t at = 0;
    char beyond;

    if (!file)
        return invalid(subject, zip_strerror(archive), failure);
    while (at < size) {
        zip_int64_t n = zip_fread(file, data + at, size - at);

        if (n < 0)
            return invalid(subject, zip_file_strerror(file), failure);
        if (n == 0)
            return invalid(subject, "the member is shorter than its directory says", failure);
        at += (size_t)n;
    }
    /* The checksum is compared where the end is read. */
    switch (zip_fread(file, &beyond, 1)) {
    case 0:
        return 0;
    case 1:
        return invalid(subject, "the member is longer than its directory says", failure);
    default:
        return invalid(subject, zip_file_strerror(file), failure);
    }
}

int zip_member_read(const char *path, const char *member, const char *subject, size_t max,
                    char **ret_data, size_t *ret_size, struct failure *failure) {
    cleanup(zip_discardp) zip_t *archive = NULL;
    cleanup(freep) char *data = NULL;
    zip_stat_t st;
    size_t size;
    int r;

    r = open_archive(path, subject, &archive, failure);
    if (r)
        return r;
    zip_stat_init(&st);
    if (zip_stat(archive, member, 0, &st))
        return failure_set(failure, -EBADMSG, "dataset_invalid", HINT,
                           "cannot unpack '%s': it has no member '%s'", subject, member);
    r = check_member(&st, subject, max, failure);
    if (r)
        return r;
    size = (size_t)st.size;
    data = malloc(size + 1);
    if (!data)
        return failure_oom(failure);
    r = unpack(archive, st.index, subject, data, size, failure);
    if (r)
        return r;
    data[size] = '\0';
    *ret_size = size;
    *ret_data = steal_ptr(data);
    return 0;
}
