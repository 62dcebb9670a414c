// SPDX-License-Identifier: Apache-2.0
/* Any text, through the demo's tokenizer. */
#include "daemon/model/tokenizer/tokenizer.h"
#include "tests/fuzz/fuzz.h"

#include "base/str.h"

static struct tokenizer *open_demo(void) {
    const char *root = getenv("QUANTD_SOURCE");
    cleanup(freep) char *path = str_format("%s/data/olmoe-demo/tokenizer.json", root ? root : ".");
    struct tokenizer *tokenizer = NULL;

    fuzz_require(path && tokenizer_open(NULL, path, &tokenizer, NULL) == 0);
    return tokenizer;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct tokenizer *tokenizer; /* of the process: opening takes long */
    cleanup(freep) int32_t *ids = NULL;
    struct failure failure = {};
    size_t n_ids;
    int r;

    if (!tokenizer)
        tokenizer = open_demo();
    r = tokenizer_encode(tokenizer, (const char *)data, size, &ids, &n_ids, &failure);
    fuzz_require(!r == (str_utf8_length((const char *)data, size) == size));
    for (size_t i = 0; !r && i < n_ids; i++)
        fuzz_require(ids[i] >= 0 && ids[i] < tokenizer_n_ids(tokenizer));
    return 0;
}
