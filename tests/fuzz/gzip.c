// SPDX-License-Identifier: Apache-2.0
/* A gzip file, line by line. */
#include "daemon/data/text/reader.h"
#include "daemon/data/text/text.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    cleanup(reader_freep) struct reader *reader = NULL;
    struct failure failure = {};
    const char *line;
    size_t length;
    int fd, r;

    if (text_open(fuzz_file("x.gz", data, size), "x", &fd, &failure) ||
        reader_new(fd, "x", READER_GZIP, &reader, &failure))
        return 0;
    while ((r = reader_line(reader, &line, &length, &failure)) > 0)
        fuzz_require(length <= READER_LINE_MAX);
    fuzz_require(!r == !failure.code[0]);
    return 0;
}
