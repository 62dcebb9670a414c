// SPDX-License-Identifier: Apache-2.0
/* What a client may send on a connection. */
#include "tests/fuzz/api/talk.h"
#include "tests/fuzz/fuzz.h"

#define INPUT_MAX 4096 /* no room for so many requests that the other half fills up */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char start[TALK_START_SIZE];

    if (size <= INPUT_MAX)
        talk(data, size, start);
    return 0;
}
