// SPDX-License-Identifier: Apache-2.0
/* One member of a zip archive. */
#include "base/cleanup.h"
#include "daemon/data/text/zip_member.h"
#include "tests/fuzz/fuzz.h"

#define MEMBER_MAX 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *path = fuzz_file("x.zip", data, size);
    cleanup(freep) char *member = NULL;
    struct failure failure = {};
    size_t length = 0;
    int r;

    r = zip_member_read(path, "member.txt", "x", MEMBER_MAX, &member, &length, &failure);
    fuzz_require(!r == !!member && !r == !failure.code[0]);
    fuzz_require(length <= MEMBER_MAX && (!member || member[length] == '\0'));
    return 0;
}
