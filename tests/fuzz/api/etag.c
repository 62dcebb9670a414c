// SPDX-License-Identifier: Apache-2.0
/* If-None-Match: a list of tags. */
#include "api/header/etag.h"
#include "base/cleanup.h"
#include "tests/fuzz/fuzz.h"

#define BOOT 0x1234abcdu

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    cleanup(freep) char *text = fuzz_text(data, size);
    uint64_t version = etag_known_version(text, BOOT);
    char tag[ETAG_SIZE];

    etag_of_version(BOOT, version, tag);
    fuzz_require(!version || *text == '*' || etag_matches(text, tag));
    etag_matches(text, "\"0123456789abcdef\"");
    return 0;
}
