// SPDX-License-Identifier: Apache-2.0
/* The Range header, for bodies of several sizes. */
#include "api/header/range.h"
#include "base/cleanup.h"
#include "base/macros.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const uint64_t sizes[] = {0, 1, 500, 100000, INT64_MAX, UINT64_MAX};
    cleanup(freep) char *text = fuzz_text(data, size);

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        uint64_t first = 0, length = 0;

        if (range_parse(text, sizes[i], &first, &length) == RANGE_PART)
            fuzz_require(length > 0 && first < sizes[i] && length <= sizes[i] - first);
    }
    return 0;
}
