// SPDX-License-Identifier: Apache-2.0
#include "api/request/gzip.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <zlib.h>

#define LEVEL 1 /* some 100 MB a second; JSON shrinks to an eighth */
#define WINDOW_GZIP (MAX_WBITS + 16)
#define MEMORY 8
#define SIZE_LEAST 1024
#define SIZE_MOST ((size_t)4 << 20)

bool gzip_pays(size_t size) {
    return size >= SIZE_LEAST && size <= SIZE_MOST;
}

int gzip_pack(const void *data, size_t size, struct strbuf *out) {
    z_stream stream = {};
    uLong bound;
    char *packed;
    int r;

    if (deflateInit2(&stream, LEVEL, Z_DEFLATED, WINDOW_GZIP, MEMORY, Z_DEFAULT_STRATEGY) != Z_OK)
        return -ENOMEM;
    bound = deflateBound(&stream, (uLong)size);
    packed = malloc(bound + 1);
    if (!packed) {
        deflateEnd(&stream);
        return -ENOMEM;
    }
    stream.next_in = (void *)(uintptr_t)data; /* not written to */
    stream.avail_in = (uInt)size;
    stream.next_out = (void *)packed;
    stream.avail_out = (uInt)bound;
    r = deflate(&stream, Z_FINISH);
    *out = (struct strbuf){.data = packed, .length = stream.total_out, .capacity = bound + 1};
    packed[stream.total_out] = '\0';
    deflateEnd(&stream);
    if (r == Z_STREAM_END)
        return 0;
    strbuf_done(out);
    return -ENOMEM;
}
