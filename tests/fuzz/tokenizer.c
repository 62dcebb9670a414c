// SPDX-License-Identifier: Apache-2.0
/* A tokenizer.json, then a text that has a bit of everything encoded with it. */
#include "daemon/model/tokenizer/tokenizer.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char text[] =
        "It's a\u0300 test:  12 <|endoftext|>\n\n caf\u00e9 \u4e16\u754c ab abc";
    cleanup(tokenizer_freep) struct tokenizer *tokenizer = NULL;
    const char *path = fuzz_file("tokenizer.json", data, size);
    cleanup(freep) int32_t *ids = NULL;
    struct failure failure = {};
    size_t n_ids;
    int r;

    r = tokenizer_open(NULL, path, &tokenizer, &failure);
    fuzz_require(!r == !!tokenizer && !r == !failure.code[0]);
    if (r || tokenizer_encode(tokenizer, text, sizeof(text), &ids, &n_ids, &failure))
        return 0;
    for (size_t i = 0; i < n_ids; i++)
        fuzz_require(ids[i] >= 0 && ids[i] < tokenizer_n_ids(tokenizer));
    return 0;
}
