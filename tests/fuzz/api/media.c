// SPDX-License-Identifier: Apache-2.0
/* Accept and Content-Type. */
#include "api/header/media.h"
#include "base/cleanup.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const types[] = {"application/json", "text/event-stream", "text/plain"};
    cleanup(freep) char *text = fuzz_text(data, size);

    for (int i = 0; i < 3; i++) {
        media_is(text, types[i]);
        fuzz_require(!media_asks(text, types[i]) || media_accepts(text, types[i]));
    }
    return 0;
}
