// SPDX-License-Identifier: Apache-2.0
#include "daemon/data/text/filetype.h"

#include "base/macros.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define HINT_LINES                                                                                 \
    "write it as JSON lines, with pandas.read_parquet(F).to_json(G, orient='records', lines=True)"
#define HINT_UNPACK "unpack it; gzip alone is read as it is"
#define HINT_WEIGHTS "name a text; a model goes where MODEL stands"

/* Bytes that no text has where they are. */
static const struct filetype {
    const char *name, *hint;
    size_t offset;
    const char *bytes;
    size_t size;
    bool letters; /* a text may begin so: one with a control character further on does not */
} filetypes[] = {
    {"a parquet file", HINT_LINES, 0, "PAR1", 4, true},
    {"an Arrow file", HINT_LINES, 0, "ARROW1\0\0", 8, false},
    {"a pointer of Git LFS, not the file itself",
     "fetch the file: git lfs pull, or download it from its page", 0,
     "version https://git-lfs.github.com/spec/v1\n", 43, false},
    {"a GGUF model", HINT_WEIGHTS, 0, "GGUF", 4, true},
    {"a safetensors file", HINT_WEIGHTS, 5, "\0\0\0{\"", 5, false},
    {"a zip archive (or a PyTorch file)", HINT_UNPACK, 0, "PK\3\4", 4, false},
    {"packed by Zstandard", HINT_UNPACK, 0, "\x28\xb5\x2f\xfd", 4, false},
    {"packed by xz", HINT_UNPACK, 0,
     "\xfd"
     "7zXZ\0",
     6, false},
    {"packed by bzip2", HINT_UNPACK, 4, "1AY&SY", 6, false},
    {"a PDF", "write its text into a file of its own", 0, "%PDF-1.", 7, false},
    {"a tar archive", HINT_UNPACK, 257, "ustar", 5, false},
    {"an SQLite database", "write its text into a file of its own", 0, "SQLite format 3\0", 16,
     false},
    {"text in UTF-16", "convert it to UTF-8: iconv -f UTF-16 -t UTF-8", 0, "\xff\xfe", 2, false},
    {"text in UTF-16", "convert it to UTF-8: iconv -f UTF-16 -t UTF-8", 0, "\xfe\xff", 2, false},
};

static bool has_control(const char *head, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)head[i] < ' ' && (head[i] < '\t' || head[i] > '\r'))
            return true;
    }
    return false;
}

static bool matches(const struct filetype *filetype, const char *head, size_t n) {
    return n >= filetype->offset + filetype->size &&
           memcmp(head + filetype->offset, filetype->bytes, filetype->size) == 0 &&
           (!filetype->letters || has_control(head, n));
}

int filetype_check(int fd, const char *subject, bool *ret_gzip, struct failure *failure) {
    char head[512];
    ssize_t n = pread(fd, head, sizeof(head), 0);

    if (n < 0)
        return failure_errno(failure, -errno, "cannot read", subject);
    for (size_t i = 0; i < ARRAY_SIZE(filetypes); i++) {
        if (matches(&filetypes[i], head, (size_t)n))
            return failure_set(failure, -EBADMSG, "dataset_invalid", filetypes[i].hint,
                               "cannot read '%s' as text: it is %s", subject, filetypes[i].name);
    }
    *ret_gzip = n >= 2 && memcmp(head, "\x1f\x8b", 2) == 0;
    return 0;
}
