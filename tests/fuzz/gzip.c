// SPDX-License-Identifier: Apache-2.0
/* A gzip file, line by line. */
#include "daemon/data/gz_lines.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    cleanup(gz_lines_freep) struct gz_lines *lines = NULL;
    struct failure failure = {};
    const char *line;
    size_t length;
    int r;

    if (gz_lines_open(fuzz_file("x.gz", data, size), "x", &lines, &failure))
        return 0;
    while ((r = gz_lines_next(lines, &line, &length, &failure)) > 0)
        fuzz_require(length <= GZ_LINE_MAX);
    fuzz_require(!r == !failure.code[0]);
    return 0;
}
